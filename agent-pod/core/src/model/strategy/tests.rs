use proptest::prelude::{Just, any, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as _;
use rstest::rstest;

use super::*;
use crate::money::Price;
use crate::usage::Tokens;

fn cents(amount: u64) -> Money {
    Price::parse("10000", "0", None).unwrap().of(Tokens { input: amount, ..Tokens::default() })
}

fn costing(cost: Option<u64>) -> CandidateView {
    CandidateView { cost: cost.map(cents), ..CandidateView::default() }
}

fn taking(millis: Option<u64>) -> CandidateView {
    CandidateView { latency: millis.map(Duration::from_millis), ..CandidateView::default() }
}

fn of_quality(quality: Option<u8>) -> CandidateView {
    CandidateView { quality, ..CandidateView::default() }
}

#[rstest]
#[case::cheapest_first(Strategy::CostOptimized, [costing(Some(3)), costing(Some(1)), costing(Some(2))], [1, 2, 0])]
#[case::free_before_all(Strategy::CostOptimized, [costing(Some(1)), costing(Some(0)), costing(Some(0))], [1, 2, 0])]
#[case::unknown_price_last(Strategy::CostOptimized, [costing(None), costing(Some(9)), costing(None)], [1, 0, 2])]
#[case::fastest_first(Strategy::LatencyOptimized, [taking(Some(30)), taking(Some(10)), taking(Some(20))], [1, 2, 0])]
#[case::unmeasured_first(Strategy::LatencyOptimized, [taking(Some(1)), taking(None), taking(None)], [1, 2, 0])]
#[case::best_first(Strategy::QualityFirst, [of_quality(Some(10)), of_quality(Some(90)), of_quality(Some(50))], [1, 2, 0])]
#[case::no_quality_last(Strategy::QualityFirst, [of_quality(None), of_quality(Some(0)), of_quality(Some(0))], [1, 2, 0])]
#[case::as_declared(Strategy::CapabilityMatch, [costing(Some(3)), costing(Some(1)), costing(None)], [0, 1, 2])]
fn candidates_are_ranked(
    #[case] strategy: Strategy,
    #[case] candidates: [CandidateView; 3],
    #[case] expected: [usize; 3],
) {
    assert_eq!(rank(&candidates, strategy, 0), expected);
}

#[rstest]
#[case::vision(Capabilities { vision: true, ..Capabilities::default() }, 0, Some(Lack::Vision))]
#[case::json_schema(Capabilities { json_schema: true, ..Capabilities::default() }, 0, Some(Lack::JsonSchema))]
#[case::tools(Capabilities { tools: true, ..Capabilities::default() }, 0, None)]
#[case::fits_with_its_answer(Capabilities::default(), 900, None)]
#[case::does_not_fit_with_its_answer(Capabilities::default(), 901, Some(Lack::Context))]
fn what_a_candidate_lacks_is_told(
    #[case] capabilities: Capabilities,
    #[case] input_tokens: u64,
    #[case] lack: Option<Lack>,
) {
    let view = CandidateView {
        capabilities: Capabilities { tools: true, ..Capabilities::default() },
        context_window: Some(1000),
        output_tokens: Some(100),
        ..CandidateView::default()
    };
    assert_eq!(view.lack(&Need { capabilities, input_tokens }), lack);
}

fn any_view() -> impl proptest::strategy::Strategy<Value = CandidateView> {
    (any::<Option<u8>>(), any::<Option<u8>>(), any::<Option<u8>>()).prop_map(|(cost, latency, quality)| CandidateView {
        cost: cost.map(|amount| cents(u64::from(amount % 4))),
        latency: latency.map(|millis| Duration::from_millis(u64::from(millis % 4))),
        quality: quality.map(|quality| quality % 4),
        ..CandidateView::default()
    })
}

fn any_strategy() -> impl proptest::strategy::Strategy<Value = Strategy> {
    prop_oneof![
        Just(Strategy::CostOptimized),
        Just(Strategy::LatencyOptimized),
        Just(Strategy::QualityFirst),
        Just(Strategy::RoundRobin),
        Just(Strategy::CapabilityMatch),
    ]
}

proptest! {
    #[test]
    fn a_ranking_is_a_permutation(
        views in proptest::collection::vec(any_view(), 0..16), strategy in any_strategy(), rotation: usize,
    ) {
        let mut order = rank(&views, strategy, rotation);
        order.sort_unstable();
        prop_assert_eq!(order, (0..views.len()).collect::<Vec<_>>());
    }

    /// Ties are decided by declaration: ranking what is ranked already changes nothing.
    #[test]
    fn a_ranking_is_stable(
        views in proptest::collection::vec(any_view(), 0..16),
        strategy in prop_oneof![Just(Strategy::CostOptimized), Just(Strategy::LatencyOptimized), Just(Strategy::QualityFirst)],
    ) {
        let ranked: Vec<_> = rank(&views, strategy, 0).into_iter().map(|index| views[index]).collect();
        prop_assert_eq!(rank(&ranked, strategy, 0), (0..views.len()).collect::<Vec<_>>());
    }

    /// Over as many requests as there are candidates each one is first exactly once.
    #[test]
    fn a_rotation_is_even(count in 1_usize..16, start in 0_usize..1000) {
        let views = vec![CandidateView::default(); count];
        let mut firsts: Vec<_> =
            (start..start + count).map(|rotation| rank(&views, Strategy::RoundRobin, rotation)[0]).collect();
        firsts.sort_unstable();
        prop_assert_eq!(firsts, (0..count).collect::<Vec<_>>());
    }
}
