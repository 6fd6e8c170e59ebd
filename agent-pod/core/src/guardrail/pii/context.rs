//! The words before a number: some announce a telephone number, some say that it is something else.

use super::super::glyph::{in_word, reading};

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

/// What stands before a number.
pub(super) struct Context {
    words: Vec<String>,
    text: String,
}

impl Context {
    pub(super) fn of(back: &[char]) -> Self {
        let text: String = back.iter().collect();
        let words = text.rsplit(|reads| !in_word(reads)).filter(|word| !word.is_empty()).take(REACH);
        Self { words: words.map(ToOwned::to_owned).collect(), text }
    }

    /// Whether a telephone number is announced.
    pub(super) fn announces_phone(&self) -> bool {
        self.words.iter().any(|word| is_one_of(word, PHONE))
            || PHONE_PARTS.iter().any(|part| self.text.rfind(part).is_some_and(|at| self.text.len() - at < 48))
    }

    /// Whether a social security number is announced.
    pub(super) fn announces_ssn(&self) -> bool {
        self.words.iter().any(|word| is_one_of(word, SSN))
    }

    /// Whether something else is announced.
    pub(super) fn announces_other(&self) -> bool {
        let nearest = self.words.iter().find(|word| !is_one_of(word, FILLERS));
        nearest.is_some_and(|word| is_one_of(word, OTHER))
    }
}

/// Whether a version is announced.
pub(super) fn names_version(back: &[char]) -> bool {
    Context::of(back).words.first().is_some_and(|word| is_one_of(word, VERSION))
}

/// Whether the word reads as one of the list.
fn is_one_of(word: &str, list: &[&str]) -> bool {
    list.iter().any(|entry| entry.chars().filter_map(reading).eq(word.chars()))
}
