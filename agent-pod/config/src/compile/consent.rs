//! Whether a Provider lets agents of another namespace use it.

use astromesh_crds::v1alpha1::{AllowedFrom, Provider};

use super::NamespaceLabels;

/// Why agents of `namespace`, another one than the provider's, may not use it; `None` when they may.
pub(super) fn refusal(provider: &Provider, namespace: &str, labels: &NamespaceLabels) -> Option<String> {
    let allowed = &provider.spec.allowed_namespaces;
    match allowed.from {
        AllowedFrom::Same => {
            return Some("serves its own namespace only; its spec.allowedNamespaces would let others in".into());
        }
        AllowedFrom::All => {}
        AllowedFrom::Selector => {
            let Some(known) = labels.get(namespace) else {
                return Some(format!(
                    "lets namespaces in by their labels, and those of `{namespace}` are not known here"
                ));
            };
            // Without a selector nothing is selected; the schema's rules ask for one.
            let matches = allowed.selector.as_ref().is_some_and(|selector| {
                selector.match_labels.iter().all(|(label, value)| known.get(label) == Some(value))
            });
            if !matches {
                return Some(format!(
                    "lets namespaces in by their labels, and `{namespace}` has not those of its spec.allowedNamespaces"
                ));
            }
        }
    }
    // A pod mounts the Secrets of its own namespace.
    let secret = provider.spec.secrets().next()?;
    Some(format!(
        "has a Secret (`{}`), which pods of another namespace cannot mount; apply a Provider in `{namespace}`",
        secret.name
    ))
}
