//! What the rules find, what they leave alone, and that pieces make no difference.

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::guardrail::scan::work;

fn rule(check: CheckSettings, action: Action) -> Rule {
    Rule::compile(RuleSettings { check, action, message: None, messages: true, tool_results: true }).unwrap()
}

fn pii(entities: &[Entity]) -> Guardrails {
    Guardrails::new(vec![], vec![rule(CheckSettings::Pii(entities.to_vec()), Action::Redact)])
}

fn content(keywords: &[&str], patterns: &[&str]) -> Guardrails {
    let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
    let check = CheckSettings::Content { keywords: owned(keywords), patterns: owned(patterns) };
    Guardrails::new(vec![], vec![rule(check, Action::Redact)])
}

fn redacted(guardrails: &Guardrails, text: &str) -> String {
    guardrails.screen(Subject::Answer, text).text
}

/// The same in pieces that end at these shares of the text.
fn in_pieces(guardrails: &Guardrails, text: &str, cuts: &[usize]) -> String {
    let mut flow = guardrails.flow(Subject::Answer);
    let characters: Vec<char> = text.chars().collect();
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (characters.len() + 1)).collect();
    ends.sort_unstable();
    ends.push(characters.len());
    let (mut start, mut out) = (0, String::new());
    for end in ends {
        out.push_str(&flow.feed(&characters[start..end].iter().collect::<String>(), false));
        start = end;
    }
    out + &flow.feed("", true)
}

#[rstest]
#[case::email("Write to ada@example.com, please.", "Write to [REDACTED_EMAIL], please.")]
#[case::email("ada.lovelace+tag@mail.example.co.uk!", "[REDACTED_EMAIL]!")]
#[case::email("mailto:ada@example.com?subject=x", "mailto:[REDACTED_EMAIL]?subject=x")]
#[case::email("<ada@example.com>", "<[REDACTED_EMAIL]>")]
#[case::email("Ends with ada@example.com.", "Ends with [REDACTED_EMAIL].")]
#[case::email("555-123-4567@example.com", "[REDACTED_EMAIL]")]
#[case::email("jürgen@müller.de und ana@españa.es", "[REDACTED_EMAIL] und [REDACTED_EMAIL]")]
#[case::email("我的邮箱是alice@example.com谢谢", "我的邮箱是[REDACTED_EMAIL]谢谢")]
#[case::email("иван@пример.рф", "[REDACTED_EMAIL]")]
#[case::email("ada＠example．com", "[REDACTED_EMAIL]")]
#[case::email("ada\u{200b}@exa\u{200d}mple.com", "[REDACTED_EMAIL]")]
#[case::email("a\u{ad}da@example.com\u{200b} x", "[REDACTED_EMAIL]\u{200b} x")]
#[case::escapes(r"x\n078-05-1120\t555-123-4567", r"x\n[REDACTED_SSN]\t[REDACTED_PHONE]")]
#[case::escapes(r#"{"n": "line\n4111 1111 1111 1111\n"}"#, r#"{"n": "line\n[REDACTED_CREDIT_CARD]\n"}"#)]
#[case::escapes(r#""a\nuser@b.com\\""#, r#""a\n[REDACTED_EMAIL]\\""#)]
#[case::escapes(r#""\u0438\u0432\u0430\u043d@\u043f\u043e\u0447\u0442\u0430.\u0440\u0444""#, r#""[REDACTED_EMAIL]""#)]
#[case::escapes(r"a\u0040b.com +49\u00a0170\u00a01234567", "[REDACTED_EMAIL] [REDACTED_PHONE]")]
#[case::escapes(r"C:\d\078-05-1120\u00", r"C:\d\[REDACTED_SSN]\u00")]
#[case::underscores("_078-05-1120_ __4111 1111 1111 1111__", "_[REDACTED_SSN]_ __[REDACTED_CREDIT_CARD]__")]
#[case::underscores("host_192.168.1.10.log", "host_[REDACTED_IP_ADDRESS].log")]
#[case::underscores("DE89370400440532013000_ ada_l@example.com", "[REDACTED_IBAN]_ [REDACTED_EMAIL]")]
#[case::parentheses("my card (4111111111111111) ok", "my card [REDACTED_CREDIT_CARD] ok")]
#[case::parentheses("(378282246310005), ssn (123456789)", "[REDACTED_CREDIT_CARD], ssn [REDACTED_SSN]")]
#[case::phone("Call 555-123-4567 now", "Call [REDACTED_PHONE] now")]
#[case::phone("+1 (555) 123-4567.", "[REDACTED_PHONE].")]
#[case::phone("(555) 123-4567", "[REDACTED_PHONE]")]
#[case::phone("1-800-555-0199", "[REDACTED_PHONE]")]
#[case::phone("555.123.4567", "[REDACTED_PHONE]")]
#[case::phone("it is 555 123 4567", "it is [REDACTED_PHONE]")]
#[case::phone("+4915112345678", "[REDACTED_PHONE]")]
#[case::phone("+49 151 1234 5678, +44 20 7946 0958", "[REDACTED_PHONE], [REDACTED_PHONE]")]
#[case::phone("0049 30 1234567", "[REDACTED_PHONE]")]
#[case::phone("Tel. 030 1234567 oder 0171/1234567", "Tel. [REDACTED_PHONE] oder [REDACTED_PHONE]")]
#[case::phone("020 7946 0958", "[REDACTED_PHONE]")]
#[case::phone("01 23 45 67 89", "[REDACTED_PHONE]")]
#[case::phone("(11) 91234-5678", "[REDACTED_PHONE]")]
#[case::phone("138 1234 5678", "[REDACTED_PHONE]")]
#[case::phone("090-1234-5678", "[REDACTED_PHONE]")]
#[case::phone("My phone number is 5551234567", "My phone number is [REDACTED_PHONE]")]
#[case::phone("phone: 555-1234", "phone: [REDACTED_PHONE]")]
#[case::phone("мой телефон 89161234567", "мой телефон [REDACTED_PHONE]")]
#[case::phone("téléphone 612345678", "téléphone [REDACTED_PHONE]")]
#[case::phone("我的手机号是13812345678", "我的手机号是[REDACTED_PHONE]")]
#[case::phone("５５５－１２３－４５６７", "[REDACTED_PHONE]")]
#[case::phone("555\u{a0}123\u{202f}4567", "[REDACTED_PHONE]")]
#[case::phone("555\u{2011}123\u{2011}4567", "[REDACTED_PHONE]")]
#[case::phone("5\u{200b}5\u{200b}5-123-4567", "[REDACTED_PHONE]")]
#[case::phone("هاتف ٠٥٠١٢٣٤٥٦٧", "هاتف [REDACTED_PHONE]")]
#[case::phone("555-123-4567x12", "[REDACTED_PHONE]x12")]
#[case::ssn("SSN 123-45-6789", "SSN [REDACTED_SSN]")]
#[case::ssn("my ssn is 123456789", "my ssn is [REDACTED_SSN]")]
#[case::ssn("078 05 1120", "[REDACTED_SSN]")]
#[case::ssn("078-05-1120 555-123-4567", "[REDACTED_SSN] [REDACTED_PHONE]")]
#[case::card("4111 1111 1111 1111", "[REDACTED_CREDIT_CARD]")]
#[case::card("4111111111111111", "[REDACTED_CREDIT_CARD]")]
#[case::card("4111-1111-1111-1111 exp 12/27", "[REDACTED_CREDIT_CARD] exp 12/27")]
#[case::card("Amex 378282246310005", "Amex [REDACTED_CREDIT_CARD]")]
#[case::card("3782 822463 10005", "[REDACTED_CREDIT_CARD]")]
#[case::card("5555 5555 5555 4444", "[REDACTED_CREDIT_CARD]")]
#[case::card("2223003122003222", "[REDACTED_CREDIT_CARD]")]
#[case::card("6011111111111117", "[REDACTED_CREDIT_CARD]")]
#[case::card("30569309025904", "[REDACTED_CREDIT_CARD]")]
#[case::card("3530111333300000", "[REDACTED_CREDIT_CARD]")]
#[case::card("4111\u{200b}1111\u{ad}1111 1111", "[REDACTED_CREDIT_CARD]")]
#[case::card("卡号4111111111111111。", "卡号[REDACTED_CREDIT_CARD]。")]
#[case::iban("DE89 3704 0044 0532 0130 00", "[REDACTED_IBAN]")]
#[case::iban("de89370400440532013000", "[REDACTED_IBAN]")]
#[case::iban("IBAN: GB82WEST12345698765432.", "IBAN: [REDACTED_IBAN].")]
#[case::iban("FR14 2004 1010 0505 0001 3M02 606 and", "[REDACTED_IBAN] and")]
#[case::iban("NL91-ABNA-0417-1643-00", "[REDACTED_IBAN]")]
#[case::iban("NO93 8601 1117 947", "[REDACTED_IBAN]")]
#[case::ip("from 192.168.1.1:8080", "from [REDACTED_IP_ADDRESS]:8080")]
#[case::ip("10.0.0.0/8", "[REDACTED_IP_ADDRESS]/8")]
#[case::ip("2001:db8::1, fe80::1%eth0", "[REDACTED_IP_ADDRESS], [REDACTED_IP_ADDRESS]%eth0")]
#[case::ip("2001:0db8:85a3:0000:0000:8a2e:0370:7334.", "[REDACTED_IP_ADDRESS].")]
#[case::ip("[::1]:80 and ::ffff:10.0.0.1", "[[REDACTED_IP_ADDRESS]]:80 and [REDACTED_IP_ADDRESS]")]
#[case::ip("port 80 10.0.0.1", "port 80 [REDACTED_IP_ADDRESS]")]
#[case::ip("ip:192.168.1.17 12:192.168.1.17", "ip:[REDACTED_IP_ADDRESS] 12:[REDACTED_IP_ADDRESS]")]
#[case::ip("server:192.168.1.17:8080", "server:[REDACTED_IP_ADDRESS]:8080")]
#[case::ip("client:2001:db8::1 node:fe80::1", "client:[REDACTED_IP_ADDRESS] node:[REDACTED_IP_ADDRESS]")]
#[case::ip("{\"addr\":2001:db8::1}", "{\"addr\":[REDACTED_IP_ADDRESS]}")]
#[case::ip("face:2001:db8::1 64:ff9b::192.0.2.33", "[REDACTED_IP_ADDRESS] [REDACTED_IP_ADDRESS]")]
#[case::ip("200 2001:db8::8a2e:370:7334", "200 [REDACTED_IP_ADDRESS]")]
#[case::ip("at 10:30 2001:db8::8a2e:370:7334.", "at 10:30 [REDACTED_IP_ADDRESS].")]
#[case::ip("1 2 3 2001:db8::1 5", "1 2 3 [REDACTED_IP_ADDRESS] 5")]
#[case::ip("200 1::8a2e:1, 200 64:ff9b::10.0.0.1", "200 [REDACTED_IP_ADDRESS], 200 [REDACTED_IP_ADDRESS]")]
#[case::ip("200 2001:db8::1%eth0", "200 [REDACTED_IP_ADDRESS]%eth0")]
#[case::ip("200 ::1 and 7 ::ffff:10.0.0.1", "200 [REDACTED_IP_ADDRESS] and 7 [REDACTED_IP_ADDRESS]")]
#[case::ip("200,2001:db8::1,200", "200,[REDACTED_IP_ADDRESS],200")]
#[case::ip("200 [2001:db8::1]:443", "200 [[REDACTED_IP_ADDRESS]]:443")]
#[case::ip("2001:db8::1 2001:db8::2", "[REDACTED_IP_ADDRESS] [REDACTED_IP_ADDRESS]")]
#[case::ip("200-2001:db8::1 7/2001:db8::1", "200-[REDACTED_IP_ADDRESS] 7/[REDACTED_IP_ADDRESS]")]
#[case::ip("1-192.168.1.1 200/10.0.0.1", "1-[REDACTED_IP_ADDRESS] 200/[REDACTED_IP_ADDRESS]")]
#[case::ip("+1 555 123 4567 2001:db8::1", "[REDACTED_PHONE] [REDACTED_IP_ADDRESS]")]
#[case::ip("4111 1111 1111 1111 2001:db8::1", "[REDACTED_CREDIT_CARD] [REDACTED_IP_ADDRESS]")]
#[case::ip("code\n2001:db8::1 5\n2001:db8::2", "code\n[REDACTED_IP_ADDRESS] 5\n[REDACTED_IP_ADDRESS]")]
#[case::behind_a_number("200 4111 1111 1111 1111", "200 [REDACTED_CREDIT_CARD]")]
#[case::behind_a_number("200 DE89 3704 0044 0532 0130 00", "200 [REDACTED_IBAN]")]
#[case::behind_a_number("200 078-05-1120", "200 [REDACTED_SSN]")]
#[case::behind_a_number("200 555-123-4567", "200 [REDACTED_PHONE]")]
#[case::behind_a_number("7 (555) 123-4567", "7 [REDACTED_PHONE]")]
#[case::behind_a_number("200 +49 151 12345678", "200 [REDACTED_PHONE]")]
#[case::many("a@b.co 10.1.2.3 078-05-1120", "[REDACTED_EMAIL] [REDACTED_IP_ADDRESS] [REDACTED_SSN]")]
#[case::touching("phone 5551234:078-05-1120", "phone [REDACTED_PHONE]:[REDACTED_SSN]")]
#[case::touching("2001:db8::110.1.2.3ada@example.com", "[REDACTED_IP_ADDRESS][REDACTED_EMAIL]")]
#[case::touching("2001:db8::1.ada@example.com", "[REDACTED_IP_ADDRESS][REDACTED_EMAIL]")]
#[case::touching("01 23 45 67 89:078-05-1120", "[REDACTED_PHONE]:[REDACTED_SSN]")]
#[case::touching(
    "x 01 23 45 67 89:01 23 45 67 89:01 23 45 67 89:078-05-1120",
    "x [REDACTED_PHONE]:[REDACTED_PHONE]:[REDACTED_PHONE]:[REDACTED_SSN]"
)]
#[case::touching("4111 1111 1111 1111-DE89 3704 0044 0532 0130 00", "[REDACTED_CREDIT_CARD]-[REDACTED_IBAN]")]
#[case::touching("::1ada@example.com", "[REDACTED_IP_ADDRESS]")]
#[case::touching("::1555-123-4567 x", "[REDACTED_IP_ADDRESS] x")]
fn personal_data_is_redacted(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(redacted(&pii(&Entity::ALL), text), expected);
}

#[rstest]
#[case::timestamp("1700000000")]
#[case::timestamp("at 1700000000123 ms, 1700000000123456 us")]
#[case::timestamp("timestamp 1700000000")]
#[case::date("2024-01-31 and 31.01.2024 and 1/31/2024")]
#[case::date("2024-01-31T10:20:30+00:00")]
#[case::date("01.02.2024 10:30")]
#[case::date("2024-01-02 2024-01-03 2024-01-04")]
#[case::date("01-02-2024 03-04-2024")]
#[case::time("from 10:30 to 12:45:59, 2024")]
#[case::order("order 1234567890")]
#[case::order("Order #5551234567 has shipped")]
#[case::order("order number 555-123-4567")]
#[case::order("112-1234567-1234567")]
#[case::order("Rechnung Nr. 0123 456 789")]
#[case::isbn("ISBN 978-3-16-148410-0")]
#[case::isbn("ISBN 0-306-40615-2")]
#[case::isbn("0-306-40615-2")]
#[case::isbn("9783161484100")]
#[case::version("version 1.2.3.4 and v10.0.0.1")]
#[case::version("1.2.3, 10.15.7, 2.0.0-rc.1")]
#[case::version("1.2.3.4.5")]
#[case::ip("300.1.2.3 and 1.2.3.256 and 01.2.3.4")]
#[case::code("std::vec<int> a::b Foo::bar() ::")]
#[case::code("x = a[1]; commit 4f6db11e9a0")]
#[case::mac("00:1a:2b:3c:4d:5e")]
#[case::uuid("550e8400-e29b-41d4-a716-446655440000")]
#[case::number("100 200 300 and 1 000 000 000")]
#[case::number("3.14159265358979 and 1234567.89")]
#[case::number("between 1990 - 2000 and 2010-2020")]
#[case::number("1,234,567,890")]
#[case::number("123456789")]
#[case::number("5 times 7, 12345678 items")]
#[case::ssn("000-12-3456 666-12-3456 900-12-3456 123-00-4567 123-45-0000")]
#[case::card("4111 1111 1111 1112")]
#[case::card("1234 5678 9012 3456")]
#[case::card("0000 0000 0000 0000")]
#[case::iban("DE88 3704 0044 0532 0130 00")]
#[case::iban("ZZ89 3704 0044 0532 0130 00")]
#[case::email("user@localhost and @mention and a@b")]
#[case::email("3 @ 5.00 each")]
#[case::sign("C++11 and +5 and 1+12345678 and GMT+01:00")]
#[case::text("Größe 44, Straße 7. 東京タワーは333メートル。")]
#[case::text("🙂🙂 👩‍👩‍👧‍👦 e\u{301} नमस्ते สวัสดี")]
fn other_text_is_left_alone(#[case] text: &str) {
    assert_eq!(redacted(&pii(&Entity::ALL), text), text);
}

#[rstest]
#[case(&[Entity::Email], "a@b.co 10.1.2.3 555-123-4567", "[REDACTED_EMAIL] 10.1.2.3 555-123-4567")]
#[case(&[Entity::Phone], "a@b.co 10.1.2.3 555-123-4567", "a@b.co 10.1.2.3 [REDACTED_PHONE]")]
#[case(&[Entity::Ssn], "078-05-1120 4111111111111111", "[REDACTED_SSN] 4111111111111111")]
fn only_the_sorts_that_are_asked_for_are_found(#[case] entities: &[Entity], #[case] text: &str, #[case] out: &str) {
    assert_eq!(redacted(&pii(entities), text), out);
}

#[rstest]
#[case(&["secret"], &[], "The SECRET is secrets", "The [FILTERED] is secrets")]
#[case(&[], &[r"sk-[a-z0-9]{8,}"], "key SK-abcdefgh1 end", "key [FILTERED] end")]
#[case(&[], &[r"\bfoo\b"], "foo food foo", "[FILTERED] food [FILTERED]")]
#[case(&["x y"], &[r"\d+"], "x  y 12", "[FILTERED] [FILTERED]")]
#[case(&["secret"], &[], r"_secret_ \nsecret po\u200bison se\u200bcret", r"_[FILTERED]_ \n[FILTERED] po\u200bison [FILTERED]")]
#[case(&[], &[r"a.c", r"ü+"], "abc üüü aüc", "[FILTERED] [FILTERED] [FILTERED]")]
fn content_is_filtered(#[case] keywords: &[&str], #[case] patterns: &[&str], #[case] text: &str, #[case] out: &str) {
    assert_eq!(redacted(&content(keywords, patterns), text), out);
}

#[rstest]
#[case("(", "unclosed group")]
#[case("a*", "matches the empty text")]
#[case(r"\w{1000}{1000}", "more than")]
#[case("(?<name", "")]
fn a_pattern_that_cannot_be_used_is_refused_with_its_place(#[case] pattern: &str, #[case] message: &str) {
    let check = CheckSettings::Content { keywords: vec![], patterns: vec!["fine".to_owned(), pattern.to_owned()] };
    let settings = RuleSettings { check, action: Action::Redact, message: None, messages: true, tool_results: false };
    let error = Rule::compile(settings).unwrap_err();
    assert!(error.index == 1 && error.message.contains(message), "{error:?}");
}

#[test]
fn rules_are_gone_through_in_their_order() {
    let keyword =
        rule(CheckSettings::Content { keywords: vec!["[REDACTED_EMAIL]".into()], patterns: vec![] }, Action::Redact);
    let email = rule(CheckSettings::Pii(vec![Entity::Email]), Action::Redact);
    let length = rule(CheckSettings::MaxLength(12), Action::Truncate);
    let first_email = Guardrails::new(vec![], vec![email.clone(), keyword.clone(), length.clone()]);
    assert_eq!(redacted(&first_email, "a@b.co and more"), "[FILTERED] a");
    let last_email = Guardrails::new(vec![], vec![length, keyword, email]);
    assert_eq!(redacted(&last_email, "a@b.co and more"), "[REDACTED_EMAIL] and m");
}

#[rstest]
#[case(Action::Block, "say ", true)]
#[case(Action::Warn, "say politics now", false)]
fn topics_block_or_warn(#[case] action: Action, #[case] text: &str, #[case] blocked: bool) {
    let topics = rule(CheckSettings::Topics(vec!["politics".into()]), action);
    let screened = Guardrails::new(vec![topics], vec![]).screen(Subject::Message, "say politics now");
    let reasons: Vec<_> = screened.hits.iter().map(|hit| hit.reason.as_str()).collect();
    assert_eq!((screened.text.as_str(), screened.block.is_some(), reasons), (text, blocked, vec!["topic `politics`"]));
}

#[rstest]
#[case(5, "héllo", false)]
#[case(4, "héll", true)]
fn length_counts_characters(#[case] characters: usize, #[case] text: &str, #[case] cut: bool) {
    let screened = Guardrails::new(vec![rule(CheckSettings::MaxLength(characters), Action::Truncate)], vec![])
        .screen(Subject::Message, "héllo");
    assert_eq!((screened.text.as_str(), !screened.hits.is_empty()), (text, cut));
}

#[test]
fn a_rule_that_fails_blocks() {
    let faulty = Guardrails::new(vec![rule(CheckSettings::Faulty, Action::Warn)], vec![]);
    let screened = faulty.screen(Subject::Message, "anything");
    assert_eq!(
        (screened.text.as_str(), screened.block.unwrap().hit.reason.as_str()),
        ("", "the rule could not be run")
    );
}

#[test]
fn text_that_cannot_be_part_of_anything_goes_out_at_once() {
    let mut flow = pii(&Entity::ALL).flow(Subject::Answer);
    let out: Vec<_> = ["It ", "arrives ", "on ", "Friday", ". "].map(|piece| flow.feed(piece, false)).into();
    assert_eq!(out, ["It ", "arrives ", "on ", "", "Friday. "]);
    let mut flow = content(&[], &[r"\bcode-\d{4}\b"]).flow(Subject::Answer);
    let held: usize = "x".repeat(300).len() - flow.feed(&"x".repeat(300), false).len();
    assert!(held <= 12, "{held}");
    let mut flow = content(&[], &["a.*b"]).flow(Subject::Answer);
    let held = 1000 - flow.feed(&"a".repeat(1000), false).len();
    assert!(held <= WINDOW, "{held}");
}

#[rstest]
#[case("4111 1111 1111 1111DE89370400440532013000", "4111 1111 1111 1111DE89370400440532013000")]
#[case("378282246310005DE89 3704 0044 0532 0130 00", "378282246310005DE89 3704 0044 0532 0130 00")]
fn values_that_are_one_word_are_not_told_apart(#[case] text: &str, #[case] out: &str) {
    assert_eq!(redacted(&pii(&Entity::ALL), text), out);
    assert_eq!(redacted(&pii(&Entity::ALL), out), out);
}

#[test]
fn values_that_wait_for_the_next_one_are_held_back_no_further_than_the_window() {
    let mut flow = pii(&Entity::ALL).flow(Subject::Answer);
    let text = "01 23 45 67 89:".repeat(40);
    let (mut fed, mut out, mut most) = (0, 0, 0);
    for piece in text.split_inclusive(' ') {
        fed += piece.len();
        out += flow.feed(piece, false).len();
        most = most.max(fed - out);
    }
    assert!(most > WINDOW / 2 && most <= WINDOW, "{most}");
    let rest = flow.feed("078-05-1120", true);
    assert!(rest.ends_with("[REDACTED_PHONE]:[REDACTED_PHONE]:[REDACTED_SSN]"), "{rest}");
}

#[test]
fn a_block_lets_nothing_out_of_values_that_touch() {
    let block = Guardrails::new(vec![], vec![rule(CheckSettings::Pii(Entity::ALL.to_vec()), Action::Block)]);
    let screened = block.screen(Subject::Answer, "say 2001:db8::110.1.2.3ada@example.com");
    assert_eq!((screened.text.as_str(), screened.block.is_some()), ("say ", true));
}

/// The looks at a character that any text takes at most, with all sorts of personal data. Prose takes about ten.
const LOOKS_MAX: usize = 250;

/// The same where each character comes by itself: what waits is looked at more than once.
const LOOKS_STREAMED_MAX: usize = 1500;

fn looks(entities: &[Entity], text: &str) -> usize {
    let guardrails = pii(entities);
    let looks = work::of(|| drop(guardrails.screen(Subject::Answer, text)));
    usize::try_from(looks).unwrap() / text.chars().count().max(1)
}

fn looks_streamed(text: &str) -> usize {
    let guardrails = pii(&Entity::ALL);
    let looks = work::of(|| {
        let mut flow = guardrails.flow(Subject::Answer);
        for character in text.chars() {
            flow.feed(character.encode_utf8(&mut [0; 4]), false);
        }
        flow.feed("", true);
    });
    usize::try_from(looks).unwrap() / text.chars().count().max(1)
}

#[rstest]
#[case("1")]
#[case("1-")]
#[case("1 ")]
#[case("1 1.1-1/")]
#[case("01 ")]
#[case("01 01/")]
#[case("40 ")]
#[case("4111 ")]
#[case("(1) ")]
#[case("(11)1 ")]
#[case("555-123-4567 ")]
#[case("1234567,")]
#[case("a.")]
#[case("a@")]
#[case("a@b.")]
#[case("a.b.c@d.e.")]
#[case("a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a@1.1.1.1.1.1.1.1.1.1.1.1.")]
#[case("+")]
#[case("(1")]
#[case("1.1.")]
#[case("a:")]
#[case("::")]
#[case("1:2:3:4:5:6:7 ")]
#[case("abcd:abcd:abcd:abcd:abcd:abcd:abcd:abcd ")]
#[case("DE")]
#[case("DE89 ")]
#[case("de89-1 ")]
#[case("ab ")]
#[case("_")]
#[case("\\")]
#[case("\\u003")]
#[case("\\u0031\\u0020")]
#[case("\u{200b}")]
#[case("1\u{200b}\u{301} ")]
#[case("١ ")]
#[case("１．")]
#[case("电1")]
#[case("politics ")]
#[case("2024-01-")]
#[case("01 23 45 67 89:")]
#[case("01 23 45 67 89:078-05-1120")]
#[case("2001:db8::110.1.2.3ada@example.com ")]
#[case("::1")]
#[case("a.-10.1.2.3")]
#[case("10.1.2.3,")]
#[case("phone 1234567 ")]
fn much_of_one_thing_is_read_in_bounded_work(#[case] unit: &str) {
    let text = unit.repeat(20_000 / unit.len());
    let all = looks(&Entity::ALL, &text);
    assert!(all <= LOOKS_MAX, "{all}");
    let twice = looks(&Entity::ALL, &text.repeat(2));
    assert!(twice <= all + all / 10 + 1, "{all}, of twice as much {twice}");
    for entity in Entity::ALL {
        let one = looks(&[entity], &text);
        assert!(one <= LOOKS_MAX, "{entity:?}: {one}");
    }
    let short: String = text.chars().take(4000).collect();
    let streamed = looks_streamed(&short);
    assert!(streamed <= LOOKS_STREAMED_MAX, "{streamed}");
}

#[rstest]
#[case(&["politics politics politics"], "politics ")]
#[case(&["aaaaaaaa"], "a")]
#[case(&["a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a b"], "a ")]
#[case(&["政政政政政政政政政政政政政政政政政政政政政政政政政政政政政政政治"], "政")]
#[case(&["politics x"], "politics \t\n ")]
fn phrases_are_looked_for_in_bounded_work(#[case] phrases: &[&str], #[case] unit: &str) {
    let topics = rule(CheckSettings::Topics(phrases.iter().map(ToString::to_string).collect()), Action::Warn);
    let guardrails = Guardrails::new(vec![topics], vec![]);
    let text = unit.repeat(20_000 / unit.len());
    let looks = work::of(|| drop(guardrails.screen(Subject::Message, &text)));
    // A place costs no more than the longest phrase is long.
    assert!(looks < 160 * 20_000, "{looks}");
}

#[rstest]
#[case("[a-z]+0", "a")]
#[case(r"\ba.{0,200}zq\b", "azqx")]
#[case("a.*b", "a")]
#[case("a[^z]{0,250}z|a", "a")]
#[case("(?:a|aa|aaa){1,80}x", "a")]
#[case(r"\bfoo\b", "foo")]
fn patterns_are_searched_for_in_bounded_work(#[case] pattern: &str, #[case] unit: &str) {
    let guardrails = content(&[], &[pattern]);
    let of = |count: usize| {
        let text = unit.repeat(count);
        work::of(|| drop(guardrails.screen(Subject::Answer, &text)))
    };
    // Every search is within a few windows, and there are no more of them than characters.
    let (once, twice) = (of(5_000), of(10_000));
    assert!(twice <= once * 2 + once / 5, "{once}, of twice as much {twice}");
    assert!(once <= 5_000 * u64::try_from(unit.len() * 5 * WINDOW).unwrap(), "{once}");
}

#[test]
fn a_long_piece_needs_no_more_than_its_windows() {
    let mut flow = pii(&Entity::ALL).flow(Subject::Answer);
    let text = "1 ".repeat(200_000);
    let looks = work::of(|| drop(flow.feed(&text, false)));
    assert!(looks < 400_000 * u64::try_from(LOOKS_MAX).unwrap(), "{looks}");
}

#[ignore = "a measurement: cargo test --release -- --ignored --nocapture what_a_character_costs"]
#[test]
fn what_a_character_costs() {
    let all = pii(&Entity::ALL);
    for unit in
        ["1 1 1 ", "Write to me on Friday, please. ", "a.a.a.", "01 23 45 67 89:", "4111 1111 ", "::1 ", "\u{200b}"]
    {
        let text = unit.repeat(800_000 / unit.len());
        let started = std::time::Instant::now();
        drop(all.screen(Subject::Answer, &text));
        let took = started.elapsed();
        println!("{unit:?}: {took:?}, {} ns a byte", took.as_nanos() / 800_000);
    }
    for pattern in [r"\w{1,256}0", r"\bsk-[a-z0-9]{20,48}\b", "a.*b"] {
        let started = std::time::Instant::now();
        let guardrails = content(&[], &[pattern]);
        let compiled = started.elapsed();
        let text = "a".repeat(100_000);
        let started = std::time::Instant::now();
        drop(guardrails.screen(Subject::Answer, &text));
        let took = started.elapsed();
        println!("{pattern:?}: compiled in {compiled:?}, {} ns a byte", took.as_nanos() / 100_000);
    }
}

/// Text of everything that the recognisers look at.
fn texts() -> impl Strategy<Value = String> {
    let planted = prop_oneof![
        Just("ada@example.com"),
        Just("555-123-4567"),
        Just("+49 151 12345678"),
        Just("078-05-1120"),
        Just("4111 1111 1111 1111"),
        Just("378282246310005"),
        Just("DE89 3704 0044 0532 0130 00"),
        Just("10.1.2.3"),
        Just("2001:db8::1"),
        Just("phone 5551234"),
        Just("ssn 123456789"),
        Just("secret word"),
        Just("sk-12345678"),
    ]
    .prop_map(ToOwned::to_owned);
    let noise = prop_oneof![
        "[0-9 .()/+-]{0,12}",
        "[a-z@.:]{0,8}",
        "[ ,\n]",
        Just("order ".to_owned()),
        Just("phone ".to_owned()),
        Just("[REDACTED_PHONE]".to_owned()),
        // Values, if what comes next is one.
        Just("2001:db8::".to_owned()),
        Just("01 23 45 67 89:".to_owned()),
        Just("政治".to_owned()),
        Just("\u{200b}".to_owned()),
        prop_oneof![Just("\\n"), Just("\\u0040"), Just("\\u00a0"), Just("\\u200b"), Just("\\u0"), Just("\\")]
            .prop_map(ToOwned::to_owned),
        "\\PC{0,4}",
        any::<String>(),
    ];
    proptest::collection::vec(prop_oneof![planted, noise], 0..12).prop_map(|parts| parts.concat())
}

fn all_redactions() -> Guardrails {
    let words = |list: &[&str]| list.iter().map(ToString::to_string).collect();
    let check =
        CheckSettings::Content { keywords: words(&["secret word"]), patterns: words(&[r"\bsk-\d+\b", "[xyz]{3,}w"]) };
    let pii = rule(CheckSettings::Pii(Entity::ALL.to_vec()), Action::Redact);
    Guardrails::new(vec![], vec![pii, rule(check, Action::Redact)])
}

proptest! {
    #[test]
    fn no_text_takes_more_work_than_the_bound(
        units in proptest::collection::vec(
            prop_oneof!["[0-9 .()/+-]{1,8}", "[a-f0-9:.]{1,8}", "[a-z@._-]{1,8}", "[0-9 :.@a\\\\]{1,6}", "\\PC{1,3}", texts()],
            1..5,
        ),
    ) {
        let unit = units.concat();
        let text = unit.repeat(2_000 / unit.len().max(1) + 1);
        let whole = looks(&Entity::ALL, &text);
        prop_assert!(whole <= LOOKS_MAX, "{whole}: {unit:?}");
        let streamed = looks_streamed(&text);
        prop_assert!(streamed <= LOOKS_STREAMED_MAX, "{streamed}: {unit:?}");
    }

    #[test]
    fn pieces_make_no_difference(text in texts(), cuts in proptest::collection::vec(any::<usize>(), 0..20)) {
        let guardrails = all_redactions();
        prop_assert_eq!(in_pieces(&guardrails, &text, &cuts), redacted(&guardrails, &text));
    }

    #[test]
    fn redacting_again_changes_nothing(text in texts()) {
        let guardrails = pii(&Entity::ALL);
        let once = redacted(&guardrails, &text);
        prop_assert_eq!(redacted(&guardrails, &once), once);
    }

    #[test]
    fn what_is_planted_never_comes_out(
        before in "[k-m ,]{0,20}", after in "[ ,\n][a-z ,]{0,20}",
        planted in prop_oneof![
            Just("ada@example.com"), Just("555-123-4567"), Just("+49 151 12345678"), Just("078-05-1120"),
            Just("4111 1111 1111 1111"), Just("DE89 3704 0044 0532 0130 00"), Just("10.1.2.3"), Just("2001:db8::1"),
        ],
        cuts in proptest::collection::vec(any::<usize>(), 0..30),
    ) {
        let text = format!("{before} {planted}{after}");
        let out = in_pieces(&pii(&Entity::ALL), &text, &cuts);
        prop_assert!(!out.contains(planted) && out.contains("[REDACTED_"), "{out}");
    }

    #[test]
    fn any_text_comes_through(text in any::<String>(), cuts in proptest::collection::vec(any::<usize>(), 0..8)) {
        let guardrails = all_redactions();
        let whole = redacted(&guardrails, &text);
        prop_assert_eq!(in_pieces(&guardrails, &text, &cuts), whole);
    }
}
