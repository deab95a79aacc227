//! PURE. What a model is called: its name without the size of its context, or a short name made
//! from the id by which a provider knows it.

/// The name of a model for people: of what the client calls it, and of an id.
///
/// `Opus 4.8 (1M context)` becomes `Opus 4.8`. So do the ids `claude-opus-4-8[1m]`,
/// `us.anthropic.claude-opus-4-8-v1:0` (Bedrock), `claude-opus-4-8@20260929` (Vertex) and
/// `openrouter/anthropic/claude-opus-4.8`. Of an Amazon Resource Name only the last part is left:
/// the number of the user's account in it is nobody's business. Anything else stays as it is.
pub(crate) fn readable(name: &str) -> String {
    let mut words = Vec::new();
    for word in without_context(name).split_whitespace() {
        words.push(if is_id(word) { of_id(word) } else { word.to_owned() });
    }
    words.retain(|it| !it.is_empty());
    words.join(" ")
}

/// The id of a model as it may be shown: of an Amazon Resource Name the last part.
pub(super) fn api_name(id: &str) -> String {
    let decoded = decoded(id);
    match resource(&decoded) {
        part if part.len() < decoded.len() => {
            part.rsplit('/').next().unwrap_or_default().to_owned()
        }
        _ => id.to_owned(),
    }
}

/// Removes the size of the context, which stands in parentheses.
fn without_context(name: &str) -> String {
    let mut kept = String::new();
    let mut rest = name;
    while let Some((before, (inner, after))) =
        rest.split_once('(').and_then(|(before, it)| Some((before, it.split_once(')')?)))
    {
        kept.push_str(before);
        if !is_size_of_context(inner) {
            kept.extend(["(", inner, ")"]);
        }
        rest = after;
    }
    kept + rest
}

/// Whether this is as in `1M context`, `200k tokens` or `1M`.
fn is_size_of_context(text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    let unit = text.trim_start_matches(|it: char| it.is_ascii_digit() || matches!(it, '.' | ','));
    let has_number = text.starts_with(|it: char| it.is_ascii_digit());
    let mut words = unit.split([' ', '-']).filter(|it| !it.is_empty());
    has_number
        && !unit.is_empty()
        && words.all(|it| matches!(it, "k" | "m" | "context" | "window" | "token" | "tokens"))
}

fn is_id(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    ["claude-", "anthropic.", "arn:", "arn%3a"].iter().any(|it| word.contains(it))
}

/// The name of a model by its id.
fn of_id(id: &str) -> String {
    let decoded = decoded(id);
    let id = resource(&decoded);
    // A gateway puts the provider before the name; so does a resource put its kind.
    let id = id.rsplit('/').next().unwrap_or_default();
    let id = id.rsplit_once("anthropic.").map_or(id, |(_, it)| it);
    let id = id.split(['[', '@']).next().unwrap_or_default();
    let id = without_version(id);
    family(id).unwrap_or_else(|| id.to_owned())
}

/// An Amazon Resource Name can be a part of a path, and then its punctuation is escaped.
fn decoded(id: &str) -> String {
    match id.contains('%') {
        true => id.replace("%3A", ":").replace("%3a", ":").replace("%2F", "/").replace("%2f", "/"),
        false => id.to_owned(),
    }
}

/// What an Amazon Resource Name, `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`, names.
fn resource(id: &str) -> &str {
    match id.to_ascii_lowercase().find("arn:") {
        Some(start) => {
            let resource = id[start..].splitn(6, ':').nth(5).unwrap_or_default();
            let is_path = resource.contains('/');
            if is_path { resource } else { resource.rsplit(':').next().unwrap_or_default() }
        }
        None => id,
    }
}

/// Removes a date, and the version of the provider's own model, as in `-20250929-v1:0`.
fn without_version(id: &str) -> &str {
    let is_number = |it: &str| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit());
    let is_version = |it: &str| it.split(':').next().is_some_and(is_number);
    let id = id.rsplit_once("-v").filter(|it| is_version(it.1)).map_or(id, |it| it.0);
    id.rsplit_once('-').filter(|it| it.1.len() == 8 && is_number(it.1)).map_or(id, |it| it.0)
}

/// The name of one of Anthropic's models as the client writes it: `Opus 4.8` for
/// `claude-opus-4-8`, `Sonnet 3.5` for `claude-3-5-sonnet`.
fn family(id: &str) -> Option<String> {
    let mut name = None;
    let mut numbers = Vec::new();
    for part in id.strip_prefix("claude-")?.split(['-', '.']) {
        if part.len() <= 2 && part.bytes().all(|it| it.is_ascii_digit()) && !part.is_empty() {
            numbers.push(part);
        } else if name.is_none() && part.bytes().all(|it| it.is_ascii_lowercase()) {
            name = Some(part).filter(|it| !it.is_empty());
        } else {
            return None;
        }
    }
    let (first, rest) = name?.split_at(1);
    let version = Some(numbers.join(".")).filter(|it| !it.is_empty() && numbers.len() <= 2)?;
    Some(format!("{}{rest} {version}", first.to_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: &str) {
        assert_eq!(readable(name), expected, "{name}");
    }

    #[test]
    fn of_what_stands_in_parentheses_only_the_size_of_the_context_goes() {
        for size in ["1M context", "200k context", "1M", "1m tokens", "1M-token context window"] {
            check(&format!("Opus 4.8 ({size})"), "Opus 4.8");
            check(&format!("Opus 4.8 ({size}) (beta)"), "Opus 4.8 (beta)");
        }
        for kept in ["Sonnet (beta)", "Opus (via Bedrock)", "Haiku (4.5)", "Mine (context", "a)b"] {
            check(kept, kept);
        }
        check("Opus  4.8(1M context) ", "Opus 4.8");
    }

    #[test]
    fn the_ids_of_providers_are_names() {
        for id in [
            "claude-opus-4-8",
            "claude-opus-4-8[1m]",
            "claude-opus-4-8-20260929",
            "claude-opus-4-8-20260929[1m]",
            "claude-opus-4-8@20260929",
            "claude-opus-4-8@default",
            "anthropic.claude-opus-4-8-v1:0",
            "us.anthropic.claude-opus-4-8-v1:0",
            "eu.anthropic.claude-opus-4-8-20260929-v1:0",
            "apac.anthropic.claude-opus-4-8-v1",
            "global.anthropic.claude-opus-4-8-v1:0[1m]",
            "us-gov.anthropic.claude-opus-4-8-20260929-v2:0:200k",
            "anthropic/claude-opus-4.8",
            "openrouter/anthropic/claude-opus-4.8",
            "bedrock/us-west-2/eu.anthropic.claude-opus-4-8-v1:0",
            "bedrock/converse/arn:aws:bedrock:eu-central-1:123456789012:inference-profile/\
                eu.anthropic.claude-opus-4-8-v1:0",
            "vertex_ai/claude-opus-4-8@20260929",
            "publishers/anthropic/models/claude-opus-4-8",
            "arn:aws:bedrock:us-west-2:123456789012:inference-profile/\
                us.anthropic.claude-opus-4-8-20260929-v1:0",
            "arn:aws:bedrock:us-west-2::foundation-model/anthropic.claude-opus-4-8-v1:0[1m]",
            "arn:aws-us-gov:bedrock:us-gov-west-1:123456789012:inference-profile/\
                us-gov.anthropic.claude-opus-4-8-v1:0 (1M context)",
            "arn%3Aaws%3Abedrock%3Aus-west-2%3A123456789012%3Ainference-profile%2F\
                us.anthropic.claude-opus-4-8-v1%3A0",
        ] {
            check(id, "Opus 4.8");
        }
        check("claude-3-5-sonnet-20241022", "Sonnet 3.5");
        check("claude-3-opus@20240229", "Opus 3");
        check("eu.anthropic.claude-sonnet-5-v1:0", "Sonnet 5");
    }

    #[test]
    fn the_number_of_an_account_is_never_shown() {
        let arn = |resource: &str| format!("arn:aws:bedrock:us-west-2:123456789012:{resource}");
        check(&arn("application-inference-profile/4jqtkehs0zy3"), "4jqtkehs0zy3");
        check(&arn("application-inference-profile/4jqtkehs0zy3[1m]"), "4jqtkehs0zy3");
        check(&arn("provisioned-model/my-model"), "my-model");
        check(&arn("endpoint:mine"), "mine");
        check(&format!("Custom {}", arn("provisioned-model/x")), "Custom x");
        check("arn:aws:bedrock:us-west-2:123456789012", "");
        check(&arn("").to_uppercase(), "");
    }

    #[test]
    fn an_id_is_shown_as_it_is_but_for_the_resource_that_it_is_part_of() {
        let arn = "arn:aws:bedrock:us-west-2:123456789012:inference-profile/";
        for id in ["claude-opus-4-8[1m]", "eu.anthropic.claude-opus-4-8-v1:0", "a/b%2Fc"] {
            assert_eq!(api_name(id), id);
        }
        assert_eq!(api_name(&format!("{arn}eu.anthropic.x-v1:0")), "eu.anthropic.x-v1:0");
    }

    #[test]
    fn any_other_name_stays_as_it_is() {
        for name in ["claude-x", "claude-opus-4-8-fast", "claude-", "Opus", "gpt-5", "kimi/k2:free"]
        {
            check(name, name);
        }
    }
}
