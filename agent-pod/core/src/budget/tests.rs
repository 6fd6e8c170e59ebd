use proptest::prelude::*;
use rstest::rstest;

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

fn account() -> Account {
    Account { agent: "shop/support".into(), window: Window::at(0, HOUR) }
}

fn tokens(tokens: u64) -> Amount {
    Amount { tokens, nanodollars: 0 }
}

#[rstest]
#[case(0, 0, 3_600_000)]
#[case(3_599_999, 0, 3_600_000)]
#[case(3_600_000, 3_600_000, 7_200_000)]
#[case(1_767_323_045_000, 1_767_322_800_000, 1_767_326_400_000)]
fn windows_are_aligned_to_the_epoch(#[case] now: u64, #[case] start: u64, #[case] end: u64) {
    let window = Window::at(now, HOUR);
    assert_eq!((window.start_ms, window.end_ms()), (start, end));
}

#[rstest]
#[case(0, "ok")]
#[case(79, "ok")]
#[case(80, "near")]
#[case(99, "near")]
#[case(100, "exceeded")]
#[case(101, "exceeded")]
fn a_budget_is_near_its_end_from_four_fifths_on(#[case] spent: u64, #[case] standing: &str) {
    let by_tokens = Maximums { tokens: Some(100), nanodollars: Some(1_000) };
    let by_cost = Maximums { tokens: None, nanodollars: Some(100) };
    let (window, spent_cost) = (account().window, Amount { tokens: 7, nanodollars: spent });
    for (spent, maximums) in [(tokens(spent), by_tokens), (spent_cost, by_cost)] {
        assert_eq!(BudgetReport { spent, window, maximums }.standing().as_str(), standing);
    }
}

#[test]
fn the_window_that_is_over_is_forgotten_with_its_last_reservation() {
    let book = Book::default();
    let next = Account { window: Window::at(3_600_000, HOUR), ..account() };
    let asked =
        |account| Asked { account, maximums: Maximums::default(), wanted: tokens(5), forced: false, lease: HOUR };
    let first = account();
    let held = book.take(&asked(&first));
    drop(book.take(&asked(&next)));
    assert_eq!(book.held(&first), tokens(5));
    drop(held);
    drop(book.take(&asked(&next)));
    assert_eq!(format!("{book:?}").matches("Account").count(), 1, "{book:?}");
}

/// What happens to a book.
#[derive(Clone, Debug)]
enum Step {
    Reserve { tokens: u64, nanodollars: u64, forced: bool },
    Settle { which: usize, percent: u64 },
    Drop { which: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..400_u64, 0..400_u64, any::<bool>()).prop_map(|(tokens, nanodollars, forced)| Step::Reserve {
            tokens,
            nanodollars,
            forced: forced && tokens % 4 == 0
        }),
        (any::<usize>(), 0..150_u64).prop_map(|(which, percent)| Step::Settle { which, percent }),
        any::<usize>().prop_map(|which| Step::Drop { which }),
    ]
}

proptest! {
    #[test]
    fn the_sum_of_used_and_reserved_is_kept_and_nothing_is_granted_beyond_the_maximums(
        steps in proptest::collection::vec(step(), 0..60),
        most in (1..1_000_u64, 1..1_000_u64),
    ) {
        let (book, account) = (Book::default(), account());
        let maximums = Maximums { tokens: Some(most.0), nanodollars: Some(most.1) };
        let mut held: Vec<(Amount, Box<dyn Hold>)> = Vec::new();
        let mut spent = Amount::default();
        for step in steps {
            match step {
                Step::Reserve { tokens, nanodollars, forced } => {
                    let wanted = Amount { tokens, nanodollars };
                    let asked = Asked { account: &account, maximums, wanted, forced, lease: HOUR };
                    let before = book.held(&account).plus(spent);
                    let reserved = book.take(&asked);
                    prop_assert_eq!(reserved.spent, spent);
                    let used_up = before.tokens >= most.0 || before.nanodollars >= most.1;
                    prop_assert_eq!(reserved.grant.is_none(), used_up && !forced);
                    if let Some(grant) = reserved.grant {
                        prop_assert_eq!(grant.exhausted, used_up);
                        let after = before.plus(grant.amount);
                        prop_assert!(after.tokens <= most.0.max(before.tokens));
                        prop_assert!(after.nanodollars <= most.1.max(before.nanodollars));
                        held.push((grant.amount, grant.hold));
                    }
                }
                Step::Settle { which, percent } if !held.is_empty() => {
                    let (amount, mut hold) = held.swap_remove(which % held.len());
                    let used = Amount {
                        tokens: amount.tokens * percent / 100,
                        nanodollars: amount.nanodollars * percent / 100,
                    };
                    hold.settle_later(used);
                    // Once is once.
                    hold.settle_later(used);
                    spent = spent.plus(used);
                }
                Step::Drop { which } if !held.is_empty() => drop(held.swap_remove(which % held.len())),
                Step::Settle { .. } | Step::Drop { .. } => {}
            }
            let reserved = held.iter().fold(Amount::default(), |sum, (amount, _)| sum.plus(*amount));
            prop_assert_eq!(book.held(&account), reserved);
            prop_assert_eq!(book.spent(&account), spent);
        }
    }
}
