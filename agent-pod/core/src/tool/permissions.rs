//! Which tools an agent may use, by globs over their names.

/// Globs over names: `*` stands for any characters, `?` for one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// The tools that may be used; empty: all.
    pub allow: Vec<String>,
    /// The tools that may not be used, whatever `allow` says.
    pub deny: Vec<String>,
}

impl Permissions {
    /// Whether a tool may be used.
    #[must_use]
    pub fn permit(&self, name: &str) -> bool {
        let any = |globs: &[String]| globs.iter().any(|glob| matches(glob, name));
        !any(&self.deny) && (self.allow.is_empty() || any(&self.allow))
    }
}

/// Looks at each pair of places once at most: a star is taken back only to the one before.
fn matches(glob: &str, name: &str) -> bool {
    let (glob, name): (Vec<char>, Vec<char>) = (glob.chars().collect(), name.chars().collect());
    let (mut at, mut place) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while place < name.len() {
        match glob.get(at) {
            Some('*') => {
                star = Some((at, place));
                at += 1;
            }
            Some(&wanted) if wanted == '?' || wanted == name[place] => {
                at += 1;
                place += 1;
            }
            Some(_) | None => {
                let Some((back, from)) = star else { return false };
                star = Some((back, from + 1));
                (at, place) = (back + 1, from + 1);
            }
        }
    }
    glob[at..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("get_*", "get_order", true)]
    #[case("get_*", "set_order", false)]
    #[case("*", "anything", true)]
    #[case("*_order", "get_order", true)]
    #[case("g?t_order", "get_order", true)]
    #[case("g?t_order", "gt_order", false)]
    #[case("a*b*c", "aXbYbZc", true)]
    #[case("a*b*c", "aXbYbZ", false)]
    #[case("get_order", "get_order", true)]
    #[case("get_order", "get_orders", false)]
    #[case("", "", true)]
    #[case("*****************************b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false)]
    fn globs_match_whole_names(#[case] glob: &str, #[case] name: &str, #[case] expected: bool) {
        assert_eq!(matches(glob, name), expected);
    }

    #[rstest]
    #[case(&[], &[], "refund", true)]
    #[case(&["get_*"], &[], "refund", false)]
    #[case(&["get_*"], &[], "get_order", true)]
    #[case(&["*"], &["ref*"], "refund", false)]
    #[case(&[], &["ref*"], "get_order", true)]
    fn deny_wins_and_an_empty_allow_is_all(
        #[case] allow: &[&str],
        #[case] deny: &[&str],
        #[case] name: &str,
        #[case] expected: bool,
    ) {
        let owned = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect();
        assert_eq!(Permissions { allow: owned(allow), deny: owned(deny) }.permit(name), expected);
    }
}
