//! The rules that questions, tool results and answers are held against.

use astromesh_crds::v1alpha1::{GuardrailAction, GuardrailScope, PiiEntity};
use serde::{Deserialize, Serialize};

/// The rules of both directions, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuardrailsDocument {
    /// For what reaches the model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input: Vec<GuardrailDocument>,
    /// For what reaches the caller.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<GuardrailDocument>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuardrailDocument {
    /// What it looks for.
    pub check: CheckDocument,
    /// What happens then.
    pub action: GuardrailAction,
    /// The answer of a run that it blocks; absent: the runtime's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What of the input it sees; never empty.
    pub scope: Vec<GuardrailScope>,
}

/// What a rule looks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", rename_all_fields = "camelCase", deny_unknown_fields, tag = "type")]
pub enum CheckDocument {
    /// Personal data.
    PiiDetection {
        /// Of these sorts; never empty.
        entities: Vec<PiiEntity>,
    },
    /// What the conversation is about.
    TopicFilter {
        /// Words and phrases; never empty.
        topics: Vec<String>,
    },
    /// How long a text is.
    MaxLength {
        /// The most characters.
        max_chars: u32,
    },
    /// Words and patterns; one of the lists holds something.
    ContentFilter {
        /// Words and phrases.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        keywords: Vec<String>,
        /// Regular expressions.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        patterns: Vec<String>,
    },
    /// What the run has used.
    CostLimit {
        /// The most tokens.
        max_tokens_per_turn: u32,
    },
}
