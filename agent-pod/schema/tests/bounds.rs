//! What schemas may cost, through the public interface: each bomb is refused, and what people write is not.

use std::time::{Duration, Instant};

use agent_pod_schema::{CHECK_WORK_MAX, Schema, SchemaError, inspect, inspect_adding, validate};
use rstest::rstest;
use serde_json::{Map, Value, json};

/// `$defs` of which each leads to the next one twice.
fn doubling(times: usize, twice: impl Fn(Value) -> Value) -> Value {
    let mut defs = Map::new();
    for step in 0..times {
        defs.insert(format!("s{step}"), twice(json!({"$ref": format!("#/$defs/s{}", step + 1)})));
    }
    defs.insert(format!("s{times}"), json!({"type": "object"}));
    json!({"$defs": defs, "$ref": "#/$defs/s0"})
}

#[rstest]
#[case::all_of(doubling(40, |next| json!({"allOf": [next, next]})))]
#[case::any_of(doubling(40, |next| json!({"anyOf": [next, next]})))]
#[case::one_of(doubling(40, |next| json!({"oneOf": [next, next]})))]
#[case::not_and_ref(doubling(40, |next| json!({"not": next, "allOf": [next]})))]
#[case::conditions(doubling(40, |next| json!({"if": next, "then": next, "else": next})))]
#[case::dependent(doubling(40, |next| json!({"dependentSchemas": {"a": next, "b": next}})))]
#[case::down_the_value(doubling(40, |next| json!({"properties": {"a": {"allOf": [next, next]}}})))]
#[case::down_a_list(doubling(40, |next| json!({"items": next, "contains": next})))]
#[case::patterns_of_names(doubling(40, |next| json!({"patternProperties": {"a": next, "b": next}})))]
#[case::unevaluated(doubling(40, |next| json!({"allOf": [next], "unevaluatedProperties": false})))]
#[case::itself(json!({"$ref": "#"}))]
#[case::itself_by_all_of(json!({"allOf": [{"$ref": "#"}]}))]
#[case::itself_by_not(json!({"not": {"$ref": "#"}}))]
#[case::itself_by_if(json!({"if": true, "then": {"$ref": "#"}}))]
#[case::itself_by_dependence(json!({"dependentSchemas": {"a": {"$ref": "#"}}}))]
#[case::itself_dynamically(json!({"$dynamicAnchor": "me", "anyOf": [{"$dynamicRef": "#me"}]}))]
#[case::itself_by_anchor(json!({"$anchor": "me", "$ref": "#me"}))]
#[case::each_other(json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"oneOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}))]
#[case::many_values(json!({"enum": (0..20_000).collect::<Vec<_>>()}))]
#[case::many_properties(json!({"properties": (0..100_000).map(|n| (n.to_string(), json!(true))).collect::<Map<_, _>>()}))]
#[case::much_text(json!({"description": "x".repeat(1 << 20)}))]
#[case::deep((0..200).fold(json!(true), |inner, _| json!({"not": inner})))]
#[case::long(doubling(2_000, |next| json!({"properties": {"a": next}})))]
#[case::class_bomb(json!({"pattern": r"\p{L}{1,256}0"}))]
#[case::nested_repetition(json!({"pattern": "((a{1,1000}){1,1000}){1,1000}"}))]
#[case::many_patterns(json!({"allOf": (0..1_000).map(|n| json!({"pattern": format!("[a-z]{{1,256}}{n}")})).collect::<Vec<_>>()}))]
#[case::names_of_properties(json!({"patternProperties": {r"\p{L}{1,256}0": true}}))]
#[case::several_meanings(json!({"properties": (0..2_400).map(|n| (format!("p{n}"), json!({"$id": "x", "$ref": "x"}))).collect::<Map<_, _>>()}))]
#[case::many_classes(json!({"pattern": r"\d".repeat(100_000)}))]
#[case::many_controls(json!({"pattern": r"\cA".repeat(100_000)}))]
#[case::all_letters(json!({"pattern": r"[\p{L}\P{L}]{0}".repeat(10_000)}))]
fn a_bomb_is_refused_before_it_is_compiled(#[case] schema: Value) {
    let refused = inspect(&schema).unwrap_err();
    assert!(matches!(refused, SchemaError::TooCostly(_)), "{refused}");
    assert!(refused.to_string().len() < 1_200, "{refused}");
    assert!(Schema::compile(&schema).is_err() && validate(&schema).is_err());
}

#[rstest]
#[case(json!({"type": "objekt"}))]
#[case(json!({"properties": 7}))]
#[case(json!({"$ref": "#/$defs/nothing"}))]
#[case(json!({"pattern": "("}))]
#[case(json!({"pattern": r"(a+)+\1$"}))]
#[case(json!({"patternProperties": {"(?=(a+)+$)b": true}}))]
#[case(json!({"minLength": -1}))]
fn a_broken_schema_is_refused_with_and_without_compiling(#[case] schema: Value) {
    assert!(matches!(Schema::compile(&schema).unwrap_err(), SchemaError::Invalid(_)));
    assert!(matches!(validate(&schema).unwrap_err(), SchemaError::Invalid(_)));
}

#[rstest]
#[case("https://example.com/schema.json")]
#[case("http://169.254.169.254/latest/meta-data")]
#[case("file:///etc/passwd")]
#[case("other.json#/$defs/address")]
fn a_reference_to_elsewhere_is_refused_in_the_words_of_the_schema(#[case] reference: &str) {
    let schema = json!({"type": "object", "properties": {"address": {"$ref": reference}}});
    let said = Schema::compile(&schema).unwrap_err().to_string();
    let document = reference.split('#').next().unwrap_or_default();
    assert!(said.contains(document) && said.contains("references must be within the schema"), "{said}");
    assert!(said.contains("/properties/address/$ref"), "{said}");
}

/// Whatever JSON there is, as schemas of settings say it.
fn any_json() -> Value {
    json!({"$defs": {"any": {"anyOf": [
        {"type": ["string", "number", "boolean", "null"]},
        {"type": "array", "items": {"$ref": "#/$defs/any"}},
        {"type": "object", "additionalProperties": {"$ref": "#/$defs/any"}},
    ]}}, "$ref": "#/$defs/any"})
}

fn expressions() -> Value {
    let of = |op: &str| {
        json!({"type": "object", "required": ["op", "left", "right"], "properties": {
            "op": {"const": op}, "left": {"$ref": "#/$defs/term"}, "right": {"$ref": "#/$defs/term"},
        }})
    };
    json!({"$defs": {"term": {"oneOf": [{"type": "number"}, of("add"), of("multiply"), of("power")]}}, "$ref": "#/$defs/term"})
}

fn tree(depth: usize) -> Value {
    (0..depth).fold(json!({"name": "leaf"}), |child, _| json!({"name": "node", "children": [child]}))
}

fn sum(depth: usize) -> Value {
    (0..depth).fold(json!(1), |term, _| json!({"op": "add", "left": term, "right": 1}))
}

#[rstest]
#[case::tree(
    json!({"$defs": {"node": {"type": "object", "required": ["name"], "additionalProperties": false, "properties": {
        "name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
    }}}, "$ref": "#/$defs/node"}), tree(20), json!({"children": []}))]
#[case::any_json(any_json(), (0..60).fold(json!(1), |inner, _| json!({"a": [inner]})), json!(null))]
#[case::expressions(expressions(), sum(5), json!({"op": "add", "left": 1}))]
#[case::by_its_id(
    json!({"$id": "T0", "type": "object", "properties": {"nodes": {"type": "array", "items": {"$ref": "T0"}}}}),
    json!({"nodes": [{"nodes": []}]}), json!({"nodes": [{"nodes": 1}]}))]
#[case::unique(json!({"type": "array", "uniqueItems": true}), json!((0..100_000).collect::<Vec<_>>()), json!([1, 1]))]
#[case::linear(
    json!({"type": "string", "pattern": "^(a+)+$"}), json!("a".repeat(100_000)), json!(format!("{}!", "a".repeat(1_000))))]
#[case::dates(json!({"pattern": r"^\d{4}-\d{2}-\d{2}$"}), json!("2026-01-02"), json!("today"))]
#[case::huge_numbers(json!({"multipleOf": 1e308}), json!(0), json!(1.5e308))]
#[case::tiny_numbers(json!({"multipleOf": 1e-300}), json!(0), json!(null))]
#[case::long_bounds(json!({"type": "string", "minLength": 0, "maxLength": u64::MAX}), json!("x"), json!(1))]
#[case::many_alternatives(
    json!({"oneOf": (0..200).map(|n| json!({"type": "object", "required": ["kind"], "properties": {"kind": {"const": format!("k{n}")}}})).collect::<Vec<_>>()}),
    json!({"kind": "k7"}), json!({"kind": "other"}))]
fn what_people_write_is_taken(#[case] schema: Value, #[case] fits: Value, #[case] does_not: Value) {
    validate(&schema).unwrap();
    let schema = Schema::compile(&schema).unwrap();
    assert_eq!(schema.check(&fits), Ok(()));
    // Some take whatever there is.
    if does_not != json!(null) {
        assert!(!schema.check(&does_not).unwrap_err().is_empty());
    }
}

#[test]
fn a_value_that_multiplies_with_the_schema_is_refused_without_being_checked() {
    let schema = Schema::compile(&expressions()).unwrap();
    assert!(schema.work(&sum(3)) < CHECK_WORK_MAX && schema.work(&sum(60)) > CHECK_WORK_MAX);
    assert!(schema.check(&sum(60)).unwrap_err()[0].contains("too deeply nested"));
}

#[test]
fn problems_are_of_bounded_length_whatever_is_sent_and_said() {
    let long = "x".repeat(1_000_000);
    let schema = json!({"type": "object", "additionalProperties": false, "properties": {
        "kind": {"enum": (0..1_000).map(|n| format!("kind-{n}")).collect::<Vec<_>>()},
    }});
    let schema = Schema::compile(&schema).unwrap();
    for value in [json!({long.clone(): 1}), json!({"kind": long.clone()}), json!({"kind": {long.clone(): [long]}})] {
        let told = schema.check(&value).unwrap_err().join("; ");
        assert!(told.len() < 8 * 1_000, "{}", told.len());
    }
    let many: Map<String, Value> = (0..100_000).map(|n| (n.to_string(), json!(n))).collect();
    assert!(schema.check(&Value::Object(many)).unwrap_err().len() <= 9);
}

#[test]
fn a_schema_within_the_bounds_is_compiled_and_dropped_on_a_small_stack() {
    let chain = doubling(230, |next| json!({"properties": {"a": next}}));
    let value = (0..120).fold(json!({}), |inner, _| json!({"a": inner}));
    let checked =
        std::thread::Builder::new().stack_size(2 << 20).spawn(move || Schema::compile(&chain).unwrap().check(&value));
    assert_eq!(checked.unwrap().join().unwrap(), Ok(()));
}

#[test]
fn what_an_address_means_is_counted_for_each_that_it_may_mean() {
    let easy = json!({"$id": "http://c/", "$defs": {"easy": {"$id": "b"}}});
    let hard = json!({"$id": "b", "allOf": vec![json!({"type": "string"}); 500]});
    for (first, second) in [(&easy, &hard), (&hard, &easy)] {
        let schema = json!({"$id": "http://a/", "$ref": "b", "$defs": {"first": first, "second": second}});
        assert!(inspect(&schema).unwrap().of(&json!(1)) > 500);
    }
    // The same place, said from elsewhere.
    let inner = json!({"$id": "inner", "$defs": {"x": {"$ref": "#/$defs/y"}, "y": {"allOf": vec![json!(true); 500]}}});
    let schema = json!({"$ref": "#/$defs/inner/$defs/x", "$defs": {"inner": inner, "y": true}});
    assert!(inspect(&schema).unwrap().of(&json!(1)) > 500);
}

#[test]
fn the_schemas_of_the_drafts_are_elsewhere_whatever_a_schema_calls_itself() {
    for id in ["https://json-schema.org/draft/2020-12/mine", "https://JSON-schem%61.org/draft/2020-12/mine"] {
        let schema = json!({"$id": id, "$ref": "schema", "$defs": {"schema": {"$id": "https://example.com/schema"}}});
        assert!(matches!(inspect(&schema), Err(SchemaError::Invalid(_))), "{id}");
    }
}

#[rstest]
#[case::whole(json!({"$id": "https://example.com/tree", "items": {"$ref": "https://example.com/tree"}}))]
#[case::relative(json!({"$id": "https://example.com/tree", "items": {"$ref": "/tree#"}}))]
#[case::part(json!({"$id": "https://example.com/a", "items": {"$ref": "b"}, "$defs": {"b": {"$id": "/b", "type": "array", "items": {"$ref": "a"}}}}))]
#[case::anchor(json!({"$id": "https://example.com/a", "$dynamicAnchor": "n", "items": {"$dynamicRef": "#n"}, "$defs": {"b": {"$id": "b", "$dynamicAnchor": "n"}}}))]
fn a_schema_may_name_itself_and_its_parts(#[case] schema: Value) {
    assert_eq!(Schema::compile(&schema).unwrap().check(&json!([[[]]])), Ok(()));
}

#[test]
fn many_anchors_of_one_name_and_many_references_to_them_are_read_at_once() {
    let anchored = (0..2_300).map(|n| (format!("a{n}"), json!({"$dynamicAnchor": "x"})));
    let referring = (0..2_300).map(|n| (format!("r{n}"), json!({"$dynamicRef": "#x"})));
    let schema = json!({"properties": anchored.chain(referring).collect::<Map<_, _>>()});
    let begun = Instant::now();
    assert!(inspect(&schema).unwrap().of(&json!({"r0": 1})) > 2_300);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[test]
fn a_place_is_told_with_names_of_bounded_length() {
    let (long, reference) = ("k".repeat(60_000), json!({"$ref": "#/nowhere"}));
    let said =
        inspect(&json!({"properties": {long.clone(): {"properties": {long: reference}}}})).unwrap_err().to_string();
    assert!(said.len() < 400 && said.contains("/properties/kkkk") && said.contains("$ref: `#/nowhere`"), "{said}");
}

/// What is sent against a schema for a hundred times its price, had it not been counted.
#[rstest]
#[case::multiples(
    json!({"items": {"allOf": vec![json!({"multipleOf": 1e-5}); 2_000]}}), json!(vec![1e300; 2_400]))]
#[case::long_names(
    json!({"items": {"required": ["k".repeat(60_000)]}}), json!(vec![json!({"a": 1, "b": 2}); 20_000]))]
#[case::long_properties(
    json!({"items": {"properties": {"k".repeat(60_000): true}}}), json!(vec![json!({"a": 1, "b": 2}); 20_000]))]
#[case::names_of_members(
    json!({"allOf": vec![json!({"properties": {"a": true}, "additionalProperties": true}); 1_000]}),
    json!({"k".repeat(1_000_000): 1}))]
fn work_that_is_large_is_counted_as_large(#[case] schema: Value, #[case] value: Value) {
    // Some are not even taken as schemas.
    let Ok(work) = inspect(&schema) else { return };
    assert!(work.of(&value) > CHECK_WORK_MAX, "{}", work.of(&value));
}

/// Numbers that are one as a fraction, and lists that are one without their lengths.
fn colliding_numbers(count: u64) -> Value {
    // As fractions all of 2048 in a row are the same.
    (0..count).map(|n| (1_u64 << 63) + n % 2_048 + 4_096 * (n / 2_048)).collect()
}

/// Ones in a row, cut into lists in ever other ways.
fn colliding_lists(count: usize) -> Value {
    let cut = |ways: usize| {
        let mut lists = vec![vec![1]];
        for gap in 0..15 {
            match lists.last_mut().filter(|_| ways >> gap & 1 == 0) {
                Some(list) => list.push(1),
                None => lists.push(vec![1]),
            }
        }
        json!(lists)
    };
    (0..count).map(cut).collect()
}

#[rstest]
#[case(colliding_numbers(20_000))]
#[case(colliding_lists(20_000))]
#[case((0..20_000).map(|n| json!({"id": n, "name": format!("n{n}")})).collect())]
#[case((0..20_000).map(|n| json!(format!("text {n}"))).collect())]
fn items_are_told_apart_in_linear_time(#[case] items: Value) {
    let schema = Schema::compile(&json!({"type": "array", "uniqueItems": true})).unwrap();
    let begun = Instant::now();
    assert_eq!(schema.check(&items), Ok(()));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let Value::Array(mut items) = items else { return };
    items.extend(items.first().cloned());
    assert!(schema.check(&Value::Array(items)).is_err());
}

#[test]
fn what_is_spent_on_schemas_adds_up_also_for_those_that_are_refused() {
    let mut spent = 0;
    assert!(inspect_adding(&json!({"pattern": r"\d".repeat(100), "$ref": "#/nowhere"}), &mut spent).is_err());
    assert!(spent > 1_000, "{spent}");
    assert!(inspect_adding(&json!({"pattern": r"^\d{4}-\d{2}$"}), &mut spent).is_ok());
    assert!(spent < 3_000, "{spent}");
}
