//! The rules that questions, tool results and answers are held against.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules;

/// The rules of both directions; each list is gone through in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.output) || self.output.all(rule, !has(rule.scope))").message("guardrails.output rules have no scope; they see answers, tokens and steps alike"))]
pub struct Guardrails {
    /// Rules for what reaches the model: the user's message, and tool results where the rule's `scope` says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub input: Vec<Guardrail>,
    /// Rules for what reaches the caller and the memory: answers, streamed tokens, steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub output: Vec<Guardrail>,
}

/// One rule: what it looks for and what happens then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.action) || self.action in {'pii_detection': ['redact', 'block', 'warn'], 'topic_filter': ['block', 'warn'], 'max_length': ['truncate', 'block'], 'content_filter': ['redact', 'block', 'warn'], 'cost_limit': ['block']}[self.type]").message("guardrail action does not fit its type: pii_detection and content_filter take redact, block or warn; topic_filter block or warn; max_length truncate or block; cost_limit block"))]
#[x_kube(validation = Rule::new("!has(self.entities) || self.type == 'pii_detection'").message("guardrail entities belong to pii_detection"))]
#[x_kube(validation = Rule::new("(self.type == 'topic_filter') == (has(self.topics) && size(self.topics) > 0)").message("guardrail topics belong to topic_filter, which needs at least one"))]
#[x_kube(validation = Rule::new("!has(self.maxChars) || self.type == 'max_length'").message("guardrail maxChars belongs to max_length"))]
#[x_kube(validation = Rule::new("(self.type == 'content_filter') == ((has(self.keywords) && size(self.keywords) > 0) || (has(self.patterns) && size(self.patterns) > 0))").message("guardrail keywords and patterns belong to content_filter, which needs at least one of them"))]
#[x_kube(validation = Rule::new("(self.type == 'cost_limit') == has(self.maxTokensPerTurn)").message("guardrail maxTokensPerTurn belongs to cost_limit, which needs it"))]
#[x_kube(validation = Rule::new("!has(self.scope) || self.type != 'cost_limit'").message("guardrail scope has no meaning with cost_limit"))]
pub struct Guardrail {
    /// What the rule looks for.
    #[serde(rename = "type")]
    pub guardrail_type: GuardrailType,
    /// What happens then. Absent: `redact` for `pii_detection` and `content_filter`, `truncate` for `max_length`, else `block`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<GuardrailAction>,
    /// The answer of a run that the rule blocks. Absent: `I can't help with that request.`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub message: Option<String>,
    /// What of the input the rule sees; absent: the message alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), extend("x-kubernetes-list-type" = "set"))]
    pub scope: Vec<GuardrailScope>,
    /// What `pii_detection` looks for; absent: everything it knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 6), extend("x-kubernetes-list-type" = "set"))]
    pub entities: Vec<PiiEntity>,
    /// Words and phrases of `topic_filter`: whole words, in any case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 128)))]
    #[x_kube(validation = rules::each("guardrails: topics", "item.trim() != ''", "is blank; write a word or phrase, or remove it"))]
    pub topics: Vec<String>,
    /// The most characters that `max_length` lets through. Absent: 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_chars: Option<u32>,
    /// Words and phrases of `content_filter`: whole words, in any case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 128)))]
    #[x_kube(validation = rules::each("guardrails: keywords", "item.trim() != ''", "is blank; write a word or phrase, or remove it"))]
    pub keywords: Vec<String>,
    /// Regular expressions of `content_filter`, in any case; a match has at most 256 characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 1024)))]
    pub patterns: Vec<String>,
    /// The most tokens that the model calls of one run may have used, those of sub-agents included, when the next call is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub max_tokens_per_turn: Option<u32>,
}

/// What a rule looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GuardrailType {
    /// Personal data: addresses, numbers.
    PiiDetection,
    /// What the conversation is about.
    TopicFilter,
    /// How long a text is.
    MaxLength,
    /// Words and patterns.
    ContentFilter,
    /// What the run has used.
    CostLimit,
}

impl GuardrailType {
    /// What happens where the rule does not say it.
    #[must_use]
    pub fn default_action(self) -> GuardrailAction {
        match self {
            Self::PiiDetection | Self::ContentFilter => GuardrailAction::Redact,
            Self::MaxLength => GuardrailAction::Truncate,
            Self::TopicFilter | Self::CostLimit => GuardrailAction::Block,
        }
    }
}

/// What happens when a rule has found something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GuardrailAction {
    /// A placeholder takes the place of what was found.
    Redact,
    /// The run ends with the rule's message.
    Block,
    /// The text passes, and the answer says so.
    Warn,
    /// The text is cut.
    Truncate,
}

/// What of the input a rule sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GuardrailScope {
    /// What the user says.
    Message,
    /// What tools say.
    ToolResults,
}

/// A sort of personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PiiEntity {
    /// Mail addresses.
    Email,
    /// Telephone numbers.
    Phone,
    /// United States social security numbers.
    Ssn,
    /// Payment cards, by their check digit.
    CreditCard,
    /// International bank account numbers, by their check digits.
    Iban,
    /// IPv4 and IPv6 addresses.
    IpAddress,
}

impl PiiEntity {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Email, Self::Phone, Self::Ssn, Self::CreditCard, Self::Iban, Self::IpAddress];
}
