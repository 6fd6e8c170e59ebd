//! Lists of models, as servers write them.

use agent_pod_core::model::ModelError;
use serde_json::Value;

use super::error::malformed;
use super::json;

/// A longer name is no model's.
const NAME_BYTES_MAX: usize = 256;

/// The names in `{"data": [{"id"}]}` of OpenAI, `{"models": [{"name"}]}` of Ollama, or a bare list of either, sorted.
pub(super) fn names(body: &[u8]) -> Result<Vec<String>, ModelError> {
    let list = json::document(body).map_err(|error| {
        malformed(if error.is_data() { "list of models too large" } else { "list of models is not JSON" })
    })?;
    let models = [Some(&list), list.get("data"), list.get("models")].into_iter().flatten().find_map(Value::as_array);
    let models = models.ok_or_else(|| malformed("no list of models"))?;
    let name = |model: &Value| {
        let name = ["id", "name", "model"].into_iter().find_map(|key| model.get(key)?.as_str())?;
        (1..=NAME_BYTES_MAX).contains(&name.len()).then(|| name.to_owned())
    };
    let mut names: Vec<String> = models.iter().filter_map(name).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::openai(r#"{"object": "list", "data": [{"id": "b"}, {"id": "a", "name": "A"}, {"id": "b"}]}"#, &["a", "b"])]
    #[case::llama_cpp(r#"{"models": [{"name": "x", "model": "x"}], "data": [{"id": "x"}]}"#, &["x"])]
    #[case::ollama(r#"{"models": [{"name": "llama3.2:latest", "model": "llama3.2:latest", "size": 1}]}"#, &["llama3.2:latest"])]
    #[case::a_bare_list(r#"[{"id": "b"}, {"id": "a"}, {"id": ""}, {}, 7]"#, &["a", "b"])]
    #[case::none(r#"{"data": []}"#, &[])]
    fn a_list_gives_the_names_in_order(#[case] body: &str, #[case] expected: &[&str]) {
        assert_eq!(names(body.as_bytes()).unwrap(), expected);
    }

    #[rstest]
    #[case("", "list of models is not JSON")]
    #[case("<html>", "list of models is not JSON")]
    #[case("{}", "no list of models")]
    #[case(r#"{"data": null}"#, "no list of models")]
    fn what_is_no_list_is_malformed(#[case] body: &str, #[case] phrase: &str) {
        assert_eq!(names(body.as_bytes()), Err(malformed(phrase)));
    }
}
