//! `calculator`: arithmetic that models get wrong.

use async_trait::async_trait;
use minijinja::value::ValueKind;
use minijinja::{Environment, Value as Evaluated};
use serde_json::{Value, json};

use crate::agent::Turn;
use crate::prompt::check_nesting;
use crate::tool::{Tool, ToolError, ToolSpec};

mod powers;

/// Steps that one expression may take.
const FUEL: u64 = 10_000;

/// The largest whole number that a double holds exactly.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Evaluates arithmetic expressions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calculator;

#[async_trait]
impl Tool for Calculator {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "calculator".to_owned(),
            description: "Evaluates an arithmetic expression: + - * / // % ** and parentheses; sqrt, abs, round, floor, ceil, min, max, log, log10, exp, sin, cos, tan; pi and e.".to_owned(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "expression": {"type": "string", "minLength": 1, "maxLength": 1000, "description": "for example (3 + 4) * sqrt(2)"},
                },
                "required": ["expression"],
                "additionalProperties": false,
            }),
        }
    }

    async fn call(&self, arguments: &Value, _turn: &Turn<'_>) -> Result<String, ToolError> {
        let expression = arguments.get("expression").and_then(Value::as_str).unwrap_or_default();
        evaluate(expression).map_err(ToolError::refused)
    }
}

fn evaluate(expression: &str) -> Result<String, String> {
    let environment = environment();
    // The sign of a power in most calculators; the expressions know no exclusive or.
    let expression = powers::grouped(&expression.replace('^', "**"))?;
    check_nesting(&expression, true).map_err(|error| format!("not an expression that can be evaluated: {error}"))?;
    let value = environment
        .compile_expression_owned(expression)
        .and_then(|compiled| compiled.eval(()))
        .map_err(|error| format!("not an expression that can be evaluated: {error}"))?;
    if value.kind() != ValueKind::Number {
        return Err("the expression does not give a number".to_owned());
    }
    if value.is_integer() {
        return Ok(value.to_string());
    }
    let number = f64::try_from(value).map_err(|_| "the expression does not give a number".to_owned())?;
    if !number.is_finite() {
        return Err("the result is not a finite number; is there a division by zero?".to_owned());
    }
    Ok(if number.fract() == 0.0 && number.abs() < WHOLE_MAX { format!("{number:.0}") } else { number.to_string() })
}

type Function = fn(f64) -> f64;

fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_fuel(Some(FUEL));
    let functions: [(&'static str, Function); 12] = [
        ("sqrt", f64::sqrt),
        ("abs", f64::abs),
        ("floor", f64::floor),
        ("ceil", f64::ceil),
        ("round", f64::round),
        ("ln", f64::ln),
        ("log", f64::ln),
        ("log10", f64::log10),
        ("exp", f64::exp),
        ("sin", f64::sin),
        ("cos", f64::cos),
        ("tan", f64::tan),
    ];
    for (name, function) in functions {
        environment.add_function(name, move |number: f64| function(number));
    }
    environment.add_function("pow", f64::powf);
    environment.add_function("min", |numbers: minijinja::value::Rest<f64>| least(&numbers, f64::min));
    environment.add_function("max", |numbers: minijinja::value::Rest<f64>| least(&numbers, f64::max));
    environment.add_global("pi", std::f64::consts::PI);
    environment.add_global("e", std::f64::consts::E);
    environment
}

fn least(numbers: &[f64], of: fn(f64, f64) -> f64) -> Evaluated {
    numbers.iter().copied().reduce(of).map_or(Evaluated::UNDEFINED, Evaluated::from)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("2 + 3 * 4", "14")]
    #[case("(2 + 3) * 4", "20")]
    #[case("10 / 4", "2.5")]
    #[case("10 / 5", "2")]
    #[case("2 ^ 10", "1024")]
    #[case("-2**2", "-4")]
    #[case("-2 ^ 2", "-4")]
    #[case("(-2)**2", "4")]
    #[case("2 - 2**2", "-2")]
    #[case("-2**2 * 3", "-12")]
    #[case("2**-1", "0.5")]
    #[case("-2**-2", "-0.25")]
    #[case("2**3**2", "512")]
    #[case("(2**3)**2", "64")]
    #[case("2 ** -1 ** 2", "0.5")]
    #[case("-sqrt(4)**2 + abs(-3**2)", "5")]
    #[case("--2**2", "4")]
    #[case("1e3**2", "1000000")]
    #[case("7 % 3", "1")]
    #[case("-3 * -3", "9")]
    #[case("round(pi * 100)", "314")]
    #[case("max(1, 7, 3) - min(4, 2)", "5")]
    #[case("123456789 * 987654321", "121932631112635269")]
    fn arithmetic_is_right(#[case] expression: &str, #[case] expected: &str) {
        assert_eq!(evaluate(expression).unwrap(), expected);
    }

    #[rstest]
    #[case("")]
    #[case("2 +")]
    #[case("1 / 0")]
    #[case("'a' * 3")]
    #[case("[1, 2]")]
    #[case("nothing")]
    #[case("min()")]
    #[case("9 ** 9 ** 9 ** 9")]
    #[case("open('/etc/passwd')")]
    #[case("'x' * 1000000000")]
    #[case::many_operators(&["1"; 500].join("+"))]
    #[case::many_signs(&format!("{}1", "-".repeat(999)))]
    #[case::many_words(&format!("{}1", "not ".repeat(249)))]
    #[case::many_brackets(&format!("{}1{}", "[".repeat(499), "]".repeat(499)))]
    #[case::a_list_multiplied("2 in [1] * 1000000000000")]
    #[case::a_list_multiplied_in_brackets("2 in (([1])) * 1000000000000")]
    #[case::a_list_multiplied_from_the_left("1000000000000 * [1] == 1000000000000 * [1]")]
    fn what_is_no_arithmetic_is_refused(#[case] expression: &str) {
        assert!(evaluate(expression).is_err(), "{:?}", evaluate(expression));
    }
}
