//! Rules on texts, with what they say to whoever breaks one: the field, what is there, what would be right.
//!
//! They stand here and not in `pattern`s, because the API server shows a pattern to the user as it is.

use kube::core::{Message, Rule};

/// A rule on a text: `good` is CEL over `self`; whoever breaks it reads `field "what is there" says`.
pub(crate) fn text(field: &str, good: &str, says: &str) -> Rule {
    rule(good, format!("'{field} ' + {} + ' {}'", quoted("self"), escaped(says)))
}

/// A rule on every item of a list, or on every key of a map: `good` is CEL over `item`. The message names one that breaks it.
pub(crate) fn each(field: &str, good: &str, says: &str) -> Rule {
    let bad = format!("strings.quote(self.filter(item, !({good}))[0])");
    rule(&format!("self.all(item, {good})"), format!("'{field}: %s {}'.format([{bad}])", escaped(says)))
}

/// A rule on every value of a map: `good` is CEL over `self[key]`. The message names the key of one that breaks it.
pub(crate) fn each_value(field: &str, good: &str, says: &str) -> Rule {
    let bad = format!("self.filter(key, !({good}))[0]");
    let told =
        format!("'{field}: %s is %s; {}'.format([strings.quote({bad}), strings.quote(self[{bad}])])", escaped(says));
    rule(&format!("self.all(key, {good})"), told)
}

/// A rule with a message that CEL puts together.
pub(crate) fn rule(good: &str, told: String) -> Rule {
    Rule::new(good).message(Message::Expression(told))
}

/// A rule on a duration between these two.
pub(crate) fn duration(field: &str, least: &str, most: &str) -> Rule {
    // So few digits that no sum of four exceeds what a duration holds: what does not parse ends a rule with an error of CEL.
    let shape = "self.matches('^([0-9]{1,9}([.][0-9]{1,3})?(ms|s)|[0-9]{1,5}([.][0-9]{1,3})?(m|h)){1,4}$')";
    let good = format!("{shape} && duration(self) >= duration('{least}') && duration(self) <= duration('{most}')");
    let says = "a number with ms, s, m or h, such as 30s or 1h30m";
    rule(
        &good,
        format!("'{field} ' + strings.quote(self) + ' is not a duration between {least} and {most}: use {says}'"),
    )
}

/// A rule on US dollars as a decimal number.
pub(crate) fn dollars(field: &str) -> Rule {
    let says = "is not an amount: use US dollars with at most 7 digits before and 9 after the point, in quotes, such as \"0.15\"";
    rule("self.matches('^[0-9]{1,7}([.][0-9]{1,9})?$')", format!("'{field} ' + strings.quote(self) + ' {says}'"))
}

/// A rule on the name of an object of Kubernetes.
pub(crate) fn object_name(field: &str) -> Rule {
    text(
        field,
        &is_object_name("self"),
        "is not a name: use lower-case letters, digits, `-` and `.`, beginning and ending with a letter or digit",
    )
}

/// A rule on the name of a namespace.
pub(crate) fn namespace(field: &str) -> Rule {
    let good = "!format.dns1123Label().validate(self).hasValue()";
    text(
        field,
        good,
        "is not a namespace: use at most 63 lower-case letters, digits and `-`, beginning and ending with a letter or digit",
    )
}

/// A rule on a key of a Secret or ConfigMap.
pub(crate) fn key(field: &str) -> Rule {
    text(field, "self.matches('^[-._a-zA-Z0-9]+$')", "is not a key: use letters, digits, `-`, `_` and `.`")
}

/// A rule on the name of a header.
pub(crate) fn header(field: &str) -> Rule {
    text(
        field,
        "self.matches('^[A-Za-z0-9_-]+$')",
        "is not a header: use letters, digits, `-` and `_`, such as X-Api-Key",
    )
}

/// A rule on the characters of headers. What they hold may be secret, and is not told.
pub(crate) fn header_values(field: &str) -> Rule {
    let good = "self[name].matches('^[ -~]*$')";
    let says = "holds characters that no header may; use letters, digits and punctuation of ASCII, in one line";
    let told = format!("'{field}: the value of %s {says}'.format([strings.quote(self.filter(name, !{good})[0])])");
    rule(&format!("self.all(name, {good})"), told)
}

/// A rule on the URL of a server. One with credentials is not told.
pub(crate) fn url(field: &str, example: &str) -> Rule {
    let told = format!("'{field} ' + (self.contains('@') ? '' : {} + ' ')", quoted("self"));
    rule(
        "isURL(self) && self.matches('^https?://')",
        format!("{told} + 'must be an absolute http or https URL, for example {example}'"),
    )
}

/// A rule against credentials in the URL of a server.
pub(crate) fn no_credentials(field: &str, instead: &str) -> Rule {
    Rule::new("!self.matches('^[A-Za-z]+://[^/?#]*@')")
        .message(format!("{field} must not hold credentials; use {instead}").as_str())
}

/// A rule on the keys of labels and annotations.
pub(crate) fn label_keys(field: &str) -> Rule {
    each(
        field,
        &is_label_key("item"),
        "is not a key: use at most 63 letters, digits, `-`, `_` and `.`, with a domain and `/` before them if need be, such as example.com/team",
    )
}

/// A rule on the values of labels.
pub(crate) fn label_values(field: &str) -> Rule {
    let good = "!format.labelValue().validate(self[key]).hasValue()";
    each_value(
        field,
        good,
        "use at most 63 letters, digits, `-`, `_` and `.`, beginning and ending with a letter or digit",
    )
}

/// CEL that is true of the key of a label.
pub(crate) fn is_label_key(value: &str) -> String {
    format!("!format.qualifiedName().validate({value}).hasValue()")
}

/// CEL that is true of the name of an object.
pub(crate) fn is_object_name(value: &str) -> String {
    format!("!format.dns1123Subdomain().validate({value}).hasValue()")
}

/// CEL for a text in quotes: its first 100 characters, because a message of CEL has a bound, too.
pub(crate) fn quoted(value: &str) -> String {
    format!("strings.quote(size({value}) > 100 ? {value}.substring(0, 100) + '…' : {value})")
}

fn escaped(text: &str) -> String {
    text.replace('\'', "\\'")
}
