//! Finds the kernels in a source.

/// The names of all `extern "C" __global__ void name(`, in order; `__launch_bounds__` may stand on either side of
/// `void`.
pub fn names(source: &str) -> Vec<String> {
    let source = without_comments(source);
    source.split("extern").skip(1).filter_map(name).collect()
}

/// The kernel's name, if this is what follows `extern` in its definition.
fn name(text: &str) -> Option<String> {
    let text = text.trim_start().strip_prefix("\"C\"")?.trim_start().strip_prefix("__global__")?;
    let text = without_bounds(text).strip_prefix("void")?;
    let text = without_bounds(text);
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_')?;
    text[end..].trim_start().starts_with('(').then(|| text[..end].to_owned())
}

fn without_bounds(text: &str) -> &str {
    let text = text.trim_start();
    text.strip_prefix("__launch_bounds__")
        .and_then(|rest| rest.split_once(')'))
        .map_or(text, |(_, rest)| rest.trim_start())
}

/// The source with blanks for comments.
fn without_comments(source: &str) -> String {
    let mut kept = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("//").into_iter().chain(rest.find("/*")).min() {
        kept.push_str(&rest[..start]);
        let end = if rest[start..].starts_with("//") {
            rest[start..].find('\n')
        } else {
            rest[start..].find("*/").map(|end| end + 2)
        };
        kept.push(' ');
        rest = end.map_or("", |end| &rest[start + end..]);
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn kernels_are_found_with_bounds_and_not_in_comments() {
        let source = r#"
            extern "C" __global__ void plain(int* a) {}
            // extern "C" __global__ void commented(int* a) {}
            /* extern "C" __global__ void blocked() */
            extern "C" __global__ __launch_bounds__(256)
            void before(float x) {}
            extern "C" __global__ void __launch_bounds__(256, 2) after () {}
            extern "C" int host(int a);
            __device__ void helper(int a) {}
        "#;
        assert_eq!(names(source), ["plain", "before", "after"]);
    }
}
