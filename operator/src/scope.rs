//! Where the operator looks: everywhere, or in one namespace.

use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};

/// The whole cluster, or one namespace of it.
///
/// Each scope has stores and controllers of its own. With `--watch-namespaces` there is one scope per namespace, Roles in
/// these namespaces suffice, and what refers from one to another goes by way of [`crate::peers::Peers`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every namespace.
    Cluster,
    /// One namespace.
    Namespace(String),
}

impl Scope {
    /// One scope per namespace, or the whole cluster when none is named.
    #[must_use]
    pub fn all(namespaces: &[String]) -> Vec<Self> {
        let mut named: Vec<_> = namespaces.iter().map(|name| name.trim()).filter(|name| !name.is_empty()).collect();
        named.sort_unstable();
        named.dedup();
        if named.is_empty() {
            return vec![Self::Cluster];
        }
        named.into_iter().map(|name| Self::Namespace(name.to_owned())).collect()
    }

    /// A client of the scope for one kind.
    #[must_use]
    pub fn api<K>(&self, client: Client) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        match self {
            Self::Cluster => Api::all(client),
            Self::Namespace(namespace) => Api::namespaced(client, namespace),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_named_namespace_is_watched_once() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(Scope::all(&[]), [Scope::Cluster]);
        assert_eq!(Scope::all(&names(&["", " "])), [Scope::Cluster]);
        assert_eq!(Scope::all(&names(&["b", " a", "b"])), [Scope::Namespace("a".into()), Scope::Namespace("b".into())]);
    }
}
