//! Money: exact amounts of US dollars, and what models charge.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use serde::{Serialize, Serializer};

use crate::usage::Tokens;

/// An amount of US dollars. Exact, and written as a decimal number without trailing zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(Decimal);

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.normalize())
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), Add::add)
    }
}

/// Billionths in a dollar.
const NANODOLLARS: u32 = 1_000_000_000;

impl Money {
    /// The amount in billionths of a dollar, rounded up: what is counted is never less than what it costs.
    #[must_use]
    pub fn nanodollars(self) -> u64 {
        self.0.saturating_mul(Decimal::from(NANODOLLARS)).ceil().to_u64().unwrap_or(u64::MAX)
    }

    /// So many billionths of a dollar.
    #[must_use]
    pub fn from_nanodollars(nanodollars: u64) -> Self {
        Self(Decimal::from(nanodollars) / Decimal::from(NANODOLLARS))
    }

    /// The amount that stands in a manifest, for example `5.00`; `None` for one that is no decimal number or negative.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        number(text).ok().map(Self)
    }

    /// The amount in dollars, for metrics: close, not exact.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::try_from(self.0).unwrap_or(f64::MAX)
    }
}

/// What a model charges, in US dollars per million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Price {
    input: Decimal,
    output: Decimal,
    cached: Decimal,
}

/// A price that is not a decimal number of dollars.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a price; write US dollars per million tokens as a decimal number, for example \"0.15\"")]
pub struct PriceError(pub String);

impl Price {
    /// The price of these decimal numbers; cached tokens cost as much as others where nothing else is said.
    ///
    /// # Errors
    /// [`PriceError`] with the number that is none, or is negative.
    pub fn parse(input: &str, output: &str, cached: Option<&str>) -> Result<Self, PriceError> {
        let input = number(input)?;
        Ok(Self { input, output: number(output)?, cached: cached.map_or(Ok(input), number)? })
    }

    /// What a call of these tokens costs.
    #[must_use]
    pub fn of(&self, tokens: Tokens) -> Money {
        let fresh = tokens.input.saturating_sub(tokens.cached);
        let cached = tokens.cached.min(tokens.input);
        let millionths = [(fresh, self.input), (cached, self.cached), (tokens.output, self.output)]
            .into_iter()
            .fold(Decimal::ZERO, |sum, (count, price)| sum.saturating_add(Decimal::from(count).saturating_mul(price)));
        Money(millionths / Decimal::from(1_000_000))
    }
}

fn number(text: &str) -> Result<Decimal, PriceError> {
    Decimal::from_str_exact(text)
        .ok()
        .filter(|number| !number.is_sign_negative())
        .ok_or_else(|| PriceError(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn tokens(input: u64, output: u64, cached: u64) -> Tokens {
        Tokens { input, output, cached }
    }

    #[rstest]
    #[case("0.15", "0.60", None, tokens(412, 38, 0), "0.0000846")]
    #[case("0.15", "0.60", Some("0.075"), tokens(412, 38, 400), "0.0000546")]
    #[case("0.15", "0.60", None, tokens(1_000_000, 0, 1_000_000), "0.15")]
    #[case("3", "15", None, tokens(2_000_000, 1_000_000, 0), "21")]
    #[case("0.15", "0.60", None, tokens(0, 0, 0), "0")]
    #[case("0", "0.000000001", None, tokens(0, 1, 0), "0.000000000000001")]
    fn a_call_costs_exactly_what_its_price_says(
        #[case] input: &str,
        #[case] output: &str,
        #[case] cached: Option<&str>,
        #[case] used: Tokens,
        #[case] expected: &str,
    ) {
        assert_eq!(Price::parse(input, output, cached).unwrap().of(used).to_string(), expected);
    }

    #[rstest]
    #[case("5.00", 5_000_000_000)]
    #[case("0.0000846", 84_600)]
    #[case("0.0000000001", 1)]
    #[case("0", 0)]
    fn money_is_counted_in_billionths_rounded_up(#[case] text: &str, #[case] nanodollars: u64) {
        let money = Money::parse(text).unwrap();
        assert_eq!(money.nanodollars(), nanodollars);
        assert!(Money::from_nanodollars(nanodollars) >= money);
    }

    #[rstest]
    #[case("-1")]
    #[case("ten")]
    #[case("")]
    fn what_is_no_price_is_named(#[case] text: &str) {
        assert_eq!(Price::parse("0", text, None), Err(PriceError(text.to_owned())));
    }
}
