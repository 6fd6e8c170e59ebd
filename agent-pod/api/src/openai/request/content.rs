//! The content of a message: a text, or parts of it.

use serde_json::Value;

use crate::fields::Fields;
use crate::images::image_problem;

/// What a message says.
#[derive(Default)]
pub(super) struct Content {
    /// Its texts, a line each.
    pub(super) text: String,
    /// Its images, as URLs or data URLs.
    pub(super) images: Vec<String>,
}

/// Reads the `content` of a message, if there is any.
pub(super) fn read(message: &mut Fields, images_allowed: bool) -> Option<Content> {
    match message.take("content")? {
        Value::String(text) => Some(Content { text, images: Vec::new() }),
        Value::Array(items) => Some(parts(message, items, images_allowed)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            message.refuse("content", "must be a string or an array of parts");
            Some(Content::default())
        }
    }
}

fn parts(message: &mut Fields, items: Vec<Value>, images_allowed: bool) -> Content {
    let (mut texts, mut images) = (Vec::new(), Vec::new());
    for (index, item) in items.into_iter().enumerate() {
        let Some(mut part) = message.nested(&format!("content[{index}]"), item) else { continue };
        match part.required_text("type", "`text` or `image_url`").as_deref() {
            Some("text") => texts.extend(part.required_text("text", "the text")),
            Some("refusal") => texts.extend(part.required_text("refusal", "the text")),
            Some("image_url") if images_allowed => images.extend(image(&mut part)),
            Some("image_url") => part.decline("type", "only messages of the user take images"),
            Some(_other) => part.decline("type", "is nothing that agents take; send `text` or `image_url`"),
            None => {}
        }
        message.absorb(part);
    }
    Content { text: texts.join("\n"), images }
}

/// `{"url": …}`, or the URL alone as some clients send it.
fn image(part: &mut Fields) -> Option<String> {
    let value = part.require("image_url", "an object with the `url`")?;
    let (path, url) = if let Value::String(url) = value {
        (part.path("image_url"), url)
    } else {
        let mut image = part.nested("image_url", value)?;
        let url = image.required_text("url", "the URL or data URL of the image");
        let path = image.path("url");
        part.absorb(image);
        (path, url?)
    };
    part.add(image_problem(&path, &url));
    Some(url)
}
