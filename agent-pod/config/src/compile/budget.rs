//! The budget of an agent as the document holds it.

use astromesh_crds::v1alpha1::Budget;

use super::agent::Compiler;
use crate::document::BudgetDocument;

pub(super) fn compile(compiler: &mut Compiler, budget: &Budget) -> BudgetDocument {
    let max_cost = budget.max_cost.as_ref().and_then(|cost| {
        let number = cost.normalized();
        if number.is_none() {
            let message =
                format!("`{}` is not an amount; write US dollars as a decimal number, for example \"5.00\"", cost.0);
            compiler.invalid("spec.budget.maxCost", message);
        }
        number
    });
    BudgetDocument {
        window_ms: compiler.millis("spec.budget.window", &budget.window),
        max_tokens: budget.max_tokens,
        max_cost,
        on_exceeded: budget.on_exceeded,
    }
}
