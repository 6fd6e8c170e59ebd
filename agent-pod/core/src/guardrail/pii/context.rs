//! The words before a number: some announce a telephone number, some say that it is something else.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::sync::LazyLock;

use super::super::glyph::{in_word, reading, stands_alone};
#[cfg(test)]
use super::super::scan::work;

/// How many words before a number announce it.
const REACH: usize = 6;

/// Words that announce a telephone number, without accents.
const PHONE: &[&str] = &[
    "phone",
    "phones",
    "telephone",
    "tel",
    "mobile",
    "cell",
    "cellphone",
    "call",
    "calling",
    "dial",
    "ring",
    "fax",
    "sms",
    "text",
    "whatsapp",
    "hotline",
    "contact",
    "handy",
    "telefon",
    "telefonnummer",
    "handynummer",
    "mobil",
    "mobilnummer",
    "rufnummer",
    "anrufen",
    "telephoner",
    "portable",
    "appelez",
    "telefono",
    "movil",
    "celular",
    "llame",
    "llamame",
    "cellulare",
    "chiamami",
    "telefone",
    "telemovel",
    "ligue",
    "telefoon",
    "bel",
    "puhelin",
    "tlf",
    "numer",
    "телефон",
    "тел",
    "телефона",
    "мобильный",
    "звоните",
    "позвони",
    "τηλεφωνο",
    "κινητο",
    "هاتف",
    "جوال",
    "טלפון",
    "फोन",
    "मोबाइल",
];

/// The same in scripts without spaces: parts of what stands before it.
const PHONE_PARTS: &[&str] = &["电话", "電話", "手机", "手機", "携帯", "전화", "휴대폰", "핸드폰", "โทร", "联系方式"];

/// Words that announce a social security number.
const SSN: &[&str] = &["ssn", "ssns", "security", "social"];

/// Words right before a number that is no telephone number.
const OTHER: &[&str] = &[
    "isbn",
    "issn",
    "ean",
    "upc",
    "gtin",
    "asin",
    "sku",
    "order",
    "orders",
    "invoice",
    "ticket",
    "tracking",
    "shipment",
    "parcel",
    "timestamp",
    "epoch",
    "unix",
    "serial",
    "part",
    "item",
    "product",
    "article",
    "transaction",
    "bestellung",
    "bestellnummer",
    "rechnung",
    "rechnungsnummer",
    "artikelnummer",
    "commande",
    "facture",
    "pedido",
    "factura",
    "ordine",
];

/// Words between such a word and the number.
const FILLERS: &[&str] =
    &["number", "no", "nr", "num", "nummer", "numero", "id", "is", "was", "code", "ref", "reference"];

/// Words before a version number.
const VERSION: &[&str] =
    &["version", "versions", "versione", "versión", "ver", "v", "release", "build", "firmware", "rev", "revision"];

/// The longest word of the lists: longer ones need not be looked up.
const WORD_MAX: usize = 20;

/// How many bytes before a number a part of [`PHONE_PARTS`] may begin.
const PARTS_REACH: usize = 48;

/// Words as they read, for lookups without copies.
type Words = HashSet<Box<[char]>>;

fn words(list: &[&str]) -> Words {
    list.iter().map(|word| word.chars().filter_map(reading).collect()).collect()
}

static PHONE_WORDS: LazyLock<Words> = LazyLock::new(|| words(PHONE));
static SSN_WORDS: LazyLock<Words> = LazyLock::new(|| words(SSN));
static OTHER_WORDS: LazyLock<Words> = LazyLock::new(|| words(OTHER));
static FILLER_WORDS: LazyLock<Words> = LazyLock::new(|| words(FILLERS));
static VERSION_WORDS: LazyLock<Words> = LazyLock::new(|| words(VERSION));

/// What stands before a number. It is read only where a number depends on it, and then once.
pub(super) struct Context<'a> {
    back: &'a [char],
    phone: OnceCell<bool>,
    ssn: OnceCell<bool>,
    other: OnceCell<bool>,
}

impl<'a> Context<'a> {
    pub(super) fn of(back: &'a [char]) -> Self {
        Self { back, phone: OnceCell::new(), ssn: OnceCell::new(), other: OnceCell::new() }
    }

    /// Whether a telephone number is announced.
    pub(super) fn announces_phone(&self) -> bool {
        *self.phone.get_or_init(|| nearest(self.back).any(|word| is_one_of(word, &PHONE_WORDS)) || self.has_part())
    }

    /// Whether a social security number is announced.
    pub(super) fn announces_ssn(&self) -> bool {
        *self.ssn.get_or_init(|| nearest(self.back).any(|word| is_one_of(word, &SSN_WORDS)))
    }

    /// Whether something else is announced.
    pub(super) fn announces_other(&self) -> bool {
        *self.other.get_or_init(|| {
            let telling = nearest(self.back).find(|word| !is_one_of(word, &FILLER_WORDS));
            telling.is_some_and(|word| is_one_of(word, &OTHER_WORDS))
        })
    }

    fn has_part(&self) -> bool {
        let mut bytes = 0;
        for at in (0..self.back.len()).rev() {
            let Some((first, tail)) = self.back.get(at..).and_then(<[char]>::split_first) else { return false };
            bytes += first.len_utf8();
            if bytes >= PARTS_REACH {
                return false;
            }
            let begins = |part: &&str| {
                let mut part = part.chars();
                part.next() == Some(*first) && part.zip(tail).all(|(one, other)| one == *other)
            };
            let fits = |part: &&str| part.chars().count() <= tail.len() + 1;
            if stands_alone(*first) && PHONE_PARTS.iter().any(|part| fits(part) && begins(part)) {
                return true;
            }
        }
        false
    }
}

/// Whether a version is announced.
pub(super) fn names_version(back: &[char]) -> bool {
    nearest(back).next().is_some_and(|word| is_one_of(word, &VERSION_WORDS))
}

/// The words before a number, the nearest one first.
fn nearest(back: &[char]) -> impl Iterator<Item = &[char]> {
    #[cfg(test)]
    work::add(back.len());
    back.rsplit(|reads| !in_word(*reads)).filter(|word| !word.is_empty()).take(REACH)
}

fn is_one_of(word: &[char], list: &Words) -> bool {
    word.len() <= WORD_MAX && list.contains(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_is_longer_than_those_that_are_looked_up() {
        let all = [PHONE, SSN, OTHER, FILLERS, VERSION].concat();
        assert!(all.iter().all(|word| word.chars().count() <= WORD_MAX));
    }
}
