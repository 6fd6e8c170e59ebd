//! Templates in processes of their own.

use std::io::{self, Read as _, Write};

use agent_pod_core::prompt::{PromptError, RENDERED_MAX};
use agent_pod_core::sandbox::{Received, Rendering, Sandbox};
use async_trait::async_trait;
use tokio::time::Instant;

use crate::child::{ChildError, ChildSettings, Children, confine};

/// Bytes of the templates and variables of one rendering.
const INPUT_MAX: usize = 1024 * 1024;

/// The first byte of an answer: a text follows, or an error as JSON.
const TEXT: u8 = b'+';
const ERROR: u8 = b'-';

/// Renders each template in a child.
#[derive(Debug)]
pub struct ChildSandbox(Children);

impl ChildSandbox {
    /// A sandbox of children that run this program with these arguments, which make it call [`render_one`].
    #[must_use]
    pub fn new(program: impl Into<std::path::PathBuf>, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(Into::into).collect();
        Self(Children::new(ChildSettings { program: program.into(), arguments, output_max: RENDERED_MAX + 1 }))
    }
}

#[async_trait]
impl Sandbox for ChildSandbox {
    async fn render(&self, rendering: &Rendering<'_>, deadline: Instant) -> Result<String, PromptError> {
        let mut input = Bounded(Vec::new());
        serde_json::to_writer(&mut input, rendering).map_err(|_full| {
            PromptError::Render(format!(
                "template and data together have more than the {INPUT_MAX} bytes that they may have"
            ))
        })?;
        let output = self.0.run(&input.0, deadline).await.map_err(|error| match error {
            ChildError::Busy => PromptError::Busy(error.to_string()),
            ChildError::Start(_) => PromptError::Unavailable(error.to_string()),
            ChildError::TooSlow | ChildError::TooLarge | ChildError::TooLong(_) => {
                PromptError::Render(error.to_string())
            }
        })?;
        let broken = || PromptError::Unavailable("its process answered nothing that can be read".to_owned());
        match output.split_first() {
            Some((&TEXT, text)) => String::from_utf8(text.to_vec()).map_err(|_not_text| broken()),
            Some((&ERROR, error)) => Err(serde_json::from_slice(error).unwrap_or_else(|_unknown| broken())),
            _ => Err(broken()),
        }
    }
}

/// The other side, in the child: bounds itself, reads one rendering and answers it.
///
/// # Errors
/// When it cannot bound itself, or the pipes break.
pub fn render_one(mut from: impl io::Read, mut to: impl Write) -> io::Result<()> {
    confine()?;
    let mut input = Vec::new();
    from.by_ref().take(u64::try_from(INPUT_MAX).unwrap_or(u64::MAX)).read_to_end(&mut input)?;
    let received: Result<Received, _> = serde_json::from_slice(&input);
    drop(input);
    let rendered = received.map_err(|error| PromptError::Render(format!("the data cannot be read: {error}")));
    match rendered.and_then(Received::render) {
        Ok(text) => {
            to.write_all(&[TEXT])?;
            to.write_all(text.as_bytes())?;
        }
        Err(error) => {
            to.write_all(&[ERROR])?;
            serde_json::to_writer(&mut to, &error)?;
        }
    }
    to.flush()
}

/// Takes in no more than [`INPUT_MAX`].
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > INPUT_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
