//! What comes out: an object, and the file that it came from.

use serde_json::Value;

/// An object as `kubectl apply` takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The file of the original system.
    pub source: String,
    /// The object.
    pub object: Value,
}

impl Manifest {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.text("/kind")
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// Its namespace; empty where it has none.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.text("/metadata/namespace")
    }

    fn text(&self, pointer: &str) -> &str {
        self.object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// A name for its file, for example `agent.support.yaml`. Names and namespaces hold no dot, so that it is its own.
    #[must_use]
    pub fn file_name(&self) -> String {
        let parts = [&self.kind().to_lowercase(), self.namespace(), self.name(), "yaml"];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
    }

    /// The object as YAML, without a document marker.
    ///
    /// # Errors
    /// When the object cannot be written, which no JSON object is known to cause.
    pub fn to_yaml(&self) -> Result<String, String> {
        serde_saphyr::to_string(&self.object).map_err(|error| error.to_string())
    }
}
