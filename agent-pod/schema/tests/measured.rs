//! What checks cost in truth, held against what was counted. For whoever changes a weight:
//! `cargo test --release -p agent-pod-schema --test measured -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use agent_pod_schema::{Schema, inspect};
use serde_json::{Map, Value, json};

/// A look takes twenty to fifty nanoseconds, on a busy machine some more.
const LOOK: Duration = Duration::from_nanos(50);

fn all_of(count: usize, part: impl Fn(usize) -> Value) -> Value {
    json!({"allOf": (0..count).map(part).collect::<Vec<_>>()})
}

fn members(count: usize, name: impl Fn(usize) -> String, value: impl Fn(usize) -> Value) -> Value {
    Value::Object((0..count).map(|n| (name(n), value(n))).collect::<Map<_, _>>())
}

fn nested(times: usize, innermost: Value, around: impl Fn(Value) -> Value) -> Value {
    (0..times).fold(innermost, |inner, _| around(inner))
}

fn list(count: usize, item: impl Fn(usize) -> Value) -> Value {
    (0..count).map(item).collect()
}

type Case = (&'static str, Value, Value);

fn checks() -> Vec<Case> {
    [numbers(), unique_items(), names(), texts(), applicators(), failures()].concat()
}

fn numbers() -> Vec<Case> {
    vec![
        ("type", json!({"items": all_of(100, |_| json!({"type": "integer"}))}), list(5_000, |n| json!(n))),
        (
            "multipleOf 1e300",
            json!({"items": all_of(70, |_| json!({"multipleOf": 1e-5}))}),
            list(250, |_| json!(1e300)),
        ),
        (
            "multipleOf wide",
            json!({"items": all_of(70, |_| json!({"multipleOf": 5e-324}))}),
            list(250, |_| json!(1.7e308)),
        ),
        (
            "multipleOf long",
            json!({"items": all_of(70, |_| json!({"multipleOf": 1.234_567e-300}))}),
            list(200, |_| json!(1.234_567_890_123_456_7e300)),
        ),
        (
            "multipleOf long 2",
            json!({"items": all_of(70, |_| json!({"multipleOf": 0.123_456}))}),
            list(200, |_| json!(1.234_567_890_123_456_7e300)),
        ),
        (
            "multipleOf long 3",
            json!({"items": all_of(70, |_| json!({"multipleOf": 3.3e-5}))}),
            list(200, |_| json!(1.797_693_134_862_315_7e308)),
        ),
        (
            "multipleOf long 4",
            json!({"items": all_of(70, |_| json!({"multipleOf": 0.1}))}),
            list(200, |_| json!(1e300)),
        ),
        (
            "multipleOf long 5",
            json!({"items": all_of(70, |_| json!({"multipleOf": 1e-15}))}),
            list(200, |_| json!(1e307)),
        ),
        (
            "multipleOf long 6",
            json!({"items": all_of(70, |_| json!({"multipleOf": 1e-300}))}),
            list(200, |_| json!(1e307)),
        ),
        (
            "multipleOf long 7",
            json!({"items": all_of(70, |_| json!({"multipleOf": 1.1e150}))}),
            list(200, |_| json!(1.1e307)),
        ),
        (
            "multipleOf cents",
            json!({"items": all_of(70, |_| json!({"multipleOf": 0.01}))}),
            list(250, |n| json!(n as f64 + 0.25)),
        ),
        ("multipleOf whole", json!({"items": all_of(70, |_| json!({"multipleOf": 3}))}), list(250, |_| json!(1e300))),
        (
            "multipleOf whole, past u64",
            json!({"items": all_of(70, |_| json!({"multipleOf": 3}))}),
            list(250, |_| json!(1.5e300)),
        ),
        (
            "minimum",
            json!({"items": all_of(200, |_| json!({"minimum": 1.5, "maximum": 1e300}))}),
            list(3_000, |n| json!(n + 2)),
        ),
    ]
}

fn unique_items() -> Vec<Case> {
    vec![
        ("unique numbers", json!({"uniqueItems": true}), list(100_000, |n| json!(n))),
        ("unique texts", json!({"uniqueItems": true}), list(20_000, |n| json!(format!("{n}{}", "x".repeat(100))))),
        ("unique objects", json!({"uniqueItems": true}), list(20_000, |n| json!({"id": n, "name": format!("n{n}")}))),
        ("unique, often", all_of(200, |_| json!({"uniqueItems": true})), list(2_000, |n| json!(n))),
        (
            "unique, colliding",
            json!({"uniqueItems": true}),
            list(2_000, |n| json!(9_007_199_254_740_992_000_u64 + n as u64 % 1_000 + 1_000 * (n as u64 / 1_000))),
        ),
    ]
}

fn names() -> Vec<Case> {
    let long = "k".repeat(60_000);
    let pair = || json!({"a": 1, "b": 2});
    vec![
        ("required", json!({"items": {"required": [long]}}), list(2_000, |_| pair())),
        (
            "required, often",
            json!({"items": {"required": (0..100).map(|n| format!("a{n}")).collect::<Vec<_>>()}}),
            list(1_000, |_| members(100, |n| format!("a{n}"), |n| json!(n))),
        ),
        ("properties", json!({"items": {"properties": {long.clone(): true}}}), list(2_000, |_| pair())),
        (
            "properties, many",
            json!({"items": {"properties": members(200, |n| format!("a{n}"), |_| json!(true))}}),
            list(1_000, |_| members(200, |n| format!("a{n}"), |n| json!(n))),
        ),
        ("dependentRequired", json!({"items": {"dependentRequired": {long.clone(): ["a"]}}}), list(2_000, |_| pair())),
        ("dependentSchemas", json!({"items": {"dependentSchemas": {long.clone(): true}}}), list(2_000, |_| pair())),
        (
            "no other properties",
            all_of(
                100,
                |_| json!({"properties": {"a": true, "b": true, "c": true, "d": true}, "additionalProperties": true}),
            ),
            members(50, |n| format!("{n}{}", "x".repeat(10_000)), |n| json!(n)),
        ),
        (
            "patternProperties",
            all_of(20, |_| json!({"patternProperties": {"^[a-f0-9]+$": true}})),
            members(1_000, |n| format!("{n:x}"), |n| json!(n)),
        ),
        (
            "propertyNames",
            all_of(100, |_| json!({"propertyNames": {"maxLength": 20}})),
            members(1_000, |n| format!("{n:x}"), |n| json!(n)),
        ),
    ]
}

fn texts() -> Vec<Case> {
    let long = "k".repeat(60_000);
    vec![
        ("const", json!({"items": {"const": long}}), list(20, |_| json!(long))),
        (
            "enum",
            json!({"items": {"enum": (0..1_000).map(|n| format!("{}{n:04}", "x".repeat(200))).collect::<Vec<_>>()}}),
            list(1_000, |_| json!(format!("{}0999", "x".repeat(200)))),
        ),
        (
            "enum of objects",
            json!({"items": {"enum": (0..500).map(|n| json!({"a": 1, "b": 2, "c": n})).collect::<Vec<_>>()}}),
            list(1_000, |_| json!({"a": 1, "b": 2, "c": 499})),
        ),
        (
            "enum of numbers",
            json!({"items": {"enum": list(1_000, |n| json!(n as f64 + 0.5))}}),
            list(1_000, |_| json!(999.5)),
        ),
        (
            "maxLength",
            json!({"items": all_of(100, |_| json!({"maxLength": 1_000_000}))}),
            list(20, |_| json!("é".repeat(1_000))),
        ),
        ("pattern", json!({"items": {"pattern": "^(a|b|ab)*c?$"}}), list(100, |_| json!("ab".repeat(5_000)))),
        (
            "formats of draft 7",
            json!({"items": {"$id": "x", "$schema": "http://json-schema.org/draft-07/schema#", "allOf": list(20, |_| json!({"format": "idn-email"}))}}),
            list(20, |_| json!("a".repeat(2_000) + "@example.com")),
        ),
        (
            "contents of draft 7",
            json!({"items": {"$id": "x", "$schema": "http://json-schema.org/draft-07/schema#", "allOf": list(20, |_| json!({"contentMediaType": "application/json", "contentEncoding": "base64"}))}}),
            list(20, |_| json!("WzEs".repeat(1_000))),
        ),
    ]
}

fn applicators() -> Vec<Case> {
    vec![
        (
            "contains",
            all_of(100, |_| json!({"contains": {"type": "string"}, "minContains": 0})),
            list(10_000, |n| json!(n)),
        ),
        (
            "unevaluatedProperties",
            json!({"allOf": (0..100).map(|n| json!({"properties": {format!("a{n}"): true}})).collect::<Vec<_>>(), "anyOf": (0..100).map(|n| json!({"properties": {format!("a{n}"): {"type": "integer"}}})).collect::<Vec<_>>(), "unevaluatedProperties": true}),
            members(1_000, |n| format!("a{n}"), |n| json!(n)),
        ),
        (
            "unevaluated, nested",
            nested(
                4,
                json!({"properties": {"a0": true}}),
                |inner| json!({"allOf": [inner], "unevaluatedProperties": {"type": "integer"}}),
            ),
            members(1_000, |n| format!("a{n}"), |n| json!(n)),
        ),
        (
            "unevaluated anyOf, nested",
            nested(
                4,
                json!({"properties": {"a0": true}}),
                |inner| json!({"anyOf": [inner], "unevaluatedProperties": {"type": "integer"}}),
            ),
            members(1_000, |n| format!("a{n}"), |n| json!(n)),
        ),
        (
            "unevaluatedItems",
            json!({"allOf": (0..100).map(|n| json!({"prefixItems": list(n + 1, |_| json!(true)), "contains": {"const": n}})).collect::<Vec<_>>(), "unevaluatedItems": true}),
            list(1_000, |n| json!(n)),
        ),
        (
            "unevaluatedItems, nested",
            nested(
                4,
                json!({"contains": {"type": "string"}, "minContains": 0}),
                |inner| json!({"anyOf": [inner], "unevaluatedItems": {"type": "integer"}}),
            ),
            list(1_000, |n| json!(n)),
        ),
        (
            "if",
            nested(
                15,
                json!({"type": "object"}),
                |inner| json!({"if": {"type": "object"}, "then": inner, "else": false}),
            ),
            members(10, |n| format!("a{n}"), |n| json!(n)),
        ),
    ]
}

fn failures() -> Vec<Case> {
    vec![
        (
            "oneOf that fails",
            json!({"items": {"oneOf": (0..100).map(|n| json!({"properties": {"a": {"const": n}}})).collect::<Vec<_>>()}}),
            list(20, |_| json!({"a": "x"})),
        ),
        (
            "anyOf that fails",
            json!({"items": {"anyOf": (0..10).map(|n| json!({"properties": {"a": {"const": n}}})).collect::<Vec<_>>()}}),
            list(100, |_| json!({"a": "x"})),
        ),
        (
            "anyOf that fails, deep",
            nested(31, json!({"type": "string"}), |inner| json!({"anyOf": [inner, {"type": "string"}]})),
            json!(1),
        ),
        (
            "anyOf that fails, wide and deep",
            json!({"$defs": members(101, |n| format!("s{n}"), |n| if n < 100 { json!({"anyOf": [{"$ref": format!("#/$defs/s{}", n + 1)}]}) } else { json!({"anyOf": list(4_000, |_| json!({"type": "string"}))}) }), "$ref": "#/$defs/s0"}),
            json!(1),
        ),
        ("items that fail", json!({"items": {"type": "string"}}), list(9_000, |n| json!(n))),
        (
            "items that fail deeply",
            nested(15, json!({"type": "string"}), |inner| json!({"items": inner})),
            nested(14, list(1_000, |n| json!(n)), |inner| json!([inner])),
        ),
    ]
}

#[test]
#[ignore = "takes the time of the machine, and says more in release mode"]
fn no_check_takes_ten_times_what_was_counted() {
    let mut beyond = Vec::new();
    for (name, schema, value) in checks() {
        let compiled = match Schema::compile(&schema) {
            Ok(compiled) => compiled,
            Err(error) => {
                println!("{name:32} refused: {error}");
                continue;
            }
        };
        let counted = compiled.work(&value);
        let begun = Instant::now();
        let result = compiled.check(&value);
        let taken = begun.elapsed();
        let per_look = taken.as_nanos() / u128::from(counted.max(1));
        let said = result.map_or_else(|problems| problems.len().to_string(), |()| "fits".to_owned());
        println!("{name:32} {counted:>12} looks {:>10} us {per_look:>6} ns/look  {said}", taken.as_micros());
        if per_look > LOOK.as_nanos() * 10 && taken > Duration::from_millis(10) {
            beyond.push(name);
        }
    }
    assert!(beyond.is_empty(), "{beyond:?}");
}

fn inspected() -> Vec<(&'static str, Value)> {
    let anchored = |n: usize| (format!("a{n}"), json!({"$dynamicAnchor": "x"}));
    let referring = |n: usize| (format!("r{n}"), json!({"$dynamicRef": "#x"}));
    let defs: Map<String, Value> = (0..2_300).map(anchored).chain((0..2_300).map(referring)).collect();
    let chain = |n: usize| {
        (format!("s{n}"), json!({"properties": {"a": {"$ref": format!("#/$defs/s{}", (n * 7 + 1) % 1_600)}}}))
    };
    let web = |n: usize| {
        let next = |k: usize| json!({"$ref": format!("#/$defs/s{}", (n * 31 + k) % 400)});
        (
            format!("s{n}"),
            json!({"items": next(3), "properties": {"a": next(1), "b": next(2)}, "additionalProperties": next(7), "contains": next(5)}),
        )
    };
    vec![
        ("dynamic", json!({"properties": defs})),
        (
            "long names",
            json!({"properties": {"k".repeat(60_000): {"properties": members(5_000, |n| format!("p{n}"), |_| json!(true))}}}),
        ),
        ("properties", json!({"properties": members(9_990, |n| format!("p{n}"), |_| json!(true))})),
        ("circle", json!({"$defs": (0..1_600).map(chain).collect::<Map<_, _>>(), "$ref": "#/$defs/s0"})),
        ("web", json!({"$defs": (0..400).map(web).collect::<Map<_, _>>(), "$ref": "#/$defs/s0"})),
        (
            "references to all",
            json!({"$recursiveAnchor": true, "properties": members(3_000, |n| format!("p{n}"), |n| json!({"$id": format!("i{n}"), "items": {"$recursiveRef": "#"}}))}),
        ),
        (
            "texts",
            json!({"properties": members(2_500, |n| format!("p{n}"), |n| json!({"$ref": format!("#/{}{n}", "%41".repeat(60))}))}),
        ),
        (
            "patterns",
            json!({"properties": members(4_900, |n| format!("p{n}"), |n| json!({"pattern": format!("^a{n}")}))}),
        ),
        (
            "a long way",
            json!({"$defs": members(160, |n| format!("s{n}"), |n| json!({"properties": members(28, |m| format!("p{m}"), |m| if m == 0 && n < 159 { json!({"$ref": format!("#/$defs/s{}", n + 1)}) } else { json!({"type": "string"}) })})), "$ref": "#/$defs/s0"}),
        ),
        (
            "a wide circle",
            json!({"$defs": members(240, |n| format!("s{n}"), |n| json!({"properties": members(19, |m| format!("p{m}"), |m| if m == 0 { json!({"$ref": format!("#/$defs/s{}", (n + 1) % 240)}) } else { json!({"items": true}) })})), "$ref": "#/$defs/s0"}),
        ),
        ("many digits", json!({"pattern": "\\d".repeat(300)})),
        ("too many digits", json!({"pattern": "\\d".repeat(100_000)})),
        ("too many controls", json!({"pattern": "\\cA".repeat(100_000)})),
        ("spaces", json!({"pattern": "\\s".repeat(34)})),
        (
            "spaces, often",
            json!({"properties": members(160, |n| format!("p{n}"), |n| json!({"pattern": format!("\\s{{0}}\\w{{0}}{n}")}))}),
        ),
        ("all letters", json!({"pattern": "(?i)".to_owned() + &"[\\p{L}\\P{L}]{0}".repeat(24)})),
        (
            "a large class",
            json!({"pattern": "[".to_owned() + &(0..60_000).filter_map(|n| char::from_u32(0x4e00 + 2 * (n * 7_919 % 60_000))).collect::<String>() + "]"}),
        ),
        ("a long pattern", json!({"pattern": "(a|b)?".repeat(2_400)})),
        ("ever more patterns", json!({"properties": members(4_900, |n| format!("p{n}"), |_| json!({"pattern": "a"}))})),
        (
            "one address",
            json!({"properties": members(2_400, |n| format!("p{n}"), |_| json!({"$id": "x", "$ref": "x"}))}),
        ),
        (
            "nested addresses",
            nested(
                30,
                all_of(1_600, |n| json!({"items": {"$ref": format!("#/{}", n % 7)}})),
                |inner| json!({"$id": "x", "not": inner}),
            ),
        ),
    ]
}

#[test]
#[ignore = "takes the time of the machine, and says more in release mode"]
fn every_schema_is_inspected_at_once() {
    for (name, schema) in inspected() {
        let begun = Instant::now();
        let said = inspect(&schema).map_or_else(|error| error.to_string(), |work| format!("{} values", work.values()));
        let taken = begun.elapsed();
        println!("{name:20} {:>8} us  {}", taken.as_micros(), said.chars().take(160).collect::<String>());
        assert!(taken < Duration::from_millis(if cfg!(debug_assertions) { 1_000 } else { 50 }), "{name}: {taken:?}");
    }
}
