//! PURE. What the name of a model says: which model it is, and how it was called.
//!
//! Gateways and clouds spell the names of Anthropic's models in ways of their own. Each spelling
//! that is understood here is a rule; what no rule explains stays part of the name.
//!
//! **Invariant:** two names are the same model only if their family and version are equal after
//! these rules. No rule drops or changes a part of a version.

use jiff::civil::Date;

/// A name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spelling {
    /// The model: `claude-opus-4-8` for every spelling of it. For models of other makers, the name
    /// without its path, in small letters.
    pub(super) model: String,
    pub(super) release: Release,
    /// Whether the name asks for the fast mode.
    pub(super) is_fast: bool,
    pub(super) place: Place,
    /// Whether the name is that of the model and its release, and says nothing else.
    pub(super) is_plain: bool,
    /// Whether Bedrock's geographic profiles cost more than its global one for this model.
    pub(super) has_premium: bool,
}

/// Which release of a model is meant. The order is that in which a name without a release prefers
/// them: the latest date last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Release {
    Unnamed,
    /// `-latest`
    Latest,
    /// The year, the month and the day as one number: 20250514.
    Dated(u32),
}

/// Where Bedrock may serve a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Anywhere, or the name does not say.
    Global,
    /// In one part of the world.
    Geography,
    /// In the regions for the government of the United States.
    GovCloud,
}

/// From this version on, geographic profiles cost more.
const FIRST_WITH_PREMIUM: (u8, u8) = (4, 5);

/// What may stand before a name, without saying anything of the model.
const PREFIXES: [&str; 3] = ["databricks-", "anthropic--", "anthropic:"];

/// What may stand behind a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suffix {
    /// The size of the context: `[1m]`, `:200k`.
    Context,
    /// Bedrock's revision: `-v1:0`.
    Revision,
    Release(Release),
    Thinking,
    Fast,
    /// A gateway's route to the same model at the same price.
    Beta,
}

impl Spelling {
    pub(super) fn read(name: &str) -> Spelling {
        let whole = name.trim().to_ascii_lowercase();
        let (path, name) = whole.rsplit_once('/').unwrap_or(("", &whole));
        let is_government = path.split(['/', ':']).any(|it| it.starts_with("us-gov-"));
        let (place, mut rest) = without_geography(name);
        let place = if is_government { Place::GovCloud } else { place };
        rest = PREFIXES.iter().find_map(|it| rest.strip_prefix(it)).unwrap_or(rest);
        let has_no_prefix = rest.len() == whole.len();
        let (mut release, mut is_fast, mut met) = (Release::Unnamed, false, Vec::new());
        while let Some((before, suffix)) = without_suffix(rest) {
            // Each kind is understood once. A name with two dates is none that we know.
            let is_same =
                |it: &Suffix| std::mem::discriminant(it) == std::mem::discriminant(&suffix);
            if met.iter().any(is_same) {
                break;
            }
            met.push(suffix);
            rest = before;
            match suffix {
                Suffix::Release(named) => release = named,
                Suffix::Fast => is_fast = true,
                _ => {}
            }
        }
        let version = Version::read(rest);
        let is_plain = has_no_prefix && met.iter().all(|it| matches!(it, Suffix::Release(_)));
        Spelling {
            has_premium: version
                .as_ref()
                .is_none_or(|it| (it.major, it.minor) >= FIRST_WITH_PREMIUM),
            model: version.map_or_else(|| rest.to_owned(), |it| it.name()),
            release,
            is_fast,
            place,
            is_plain,
        }
    }
}

/// Bedrock's names: `anthropic.claude-x`, with a profile's geography before it or without.
fn without_geography(name: &str) -> (Place, &str) {
    let Some((before, rest)) = name.split_once("anthropic.") else { return (Place::Global, name) };
    let is_code = |it: &str| it.len() == 2 && it.bytes().all(|byte| byte.is_ascii_lowercase());
    match before.strip_suffix('.') {
        None if before.is_empty() => (Place::Global, rest),
        Some("global") => (Place::Global, rest),
        Some("us-gov") => (Place::GovCloud, rest),
        Some(geography) if geography == "apac" || is_code(geography) => (Place::Geography, rest),
        _ => (Place::Global, name),
    }
}

/// The name without its last suffix, and that suffix.
///
/// Most are understood in names of Anthropic's models only: with others `-thinking`, `-fast` and
/// `-v3` are parts of a model's name.
fn without_suffix(name: &str) -> Option<(&str, Suffix)> {
    if let Some((before, size)) = name.strip_suffix(']').and_then(|it| it.rsplit_once('[')) {
        return is_size(size).then_some((before, Suffix::Context));
    }
    if let Some((before, release)) = name.rsplit_once('@') {
        let release = match release {
            // Vertex calls the release that it serves so.
            "default" => Some(Release::Unnamed),
            "latest" => Some(Release::Latest),
            date => date_number(date).map(Release::Dated),
        };
        if let Some(release) = release {
            return Some((before, Suffix::Release(release)));
        }
    }
    if let Some((before, date)) = name.rsplit_once('-')
        && let Some(date) = date_number(date)
    {
        return Some((before, Suffix::Release(Release::Dated(date))));
    }
    if !name.starts_with("claude-") {
        return None;
    }
    if let Some(before) = name.len().checked_sub("-2025-05-14".len())
        && let Some((before, date)) = name.split_at_checked(before)
        && let Some(date) = date.strip_prefix('-').filter(|it| it.matches('-').count() == 2)
        && let Some(date) = date_number(&date.replace('-', ""))
    {
        return Some((before, Suffix::Release(Release::Dated(date))));
    }
    let is_number = |it: &str| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((before, revision)) = name.rsplit_once("-v") {
        let (major, minor) = revision.split_once(':').unwrap_or((revision, "0"));
        if is_number(major) && is_number(minor) {
            return Some((before, Suffix::Revision));
        }
    }
    let (before, word) = name.rsplit_once([':', '-'])?;
    let is_tag = name.as_bytes()[before.len()] == b':';
    match word {
        "thinking" => Some((before, Suffix::Thinking)),
        "fast" => Some((before, Suffix::Fast)),
        "latest" => Some((before, Suffix::Release(Release::Latest))),
        "beta" if is_tag => Some((before, Suffix::Beta)),
        size if is_tag && is_size(size) => Some((before, Suffix::Context)),
        _ => None,
    }
}

/// Whether this is a size of the context: `1m`, `200k`.
fn is_size(text: &str) -> bool {
    let number = text.strip_suffix(['k', 'm']).unwrap_or_default();
    !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit())
}

/// The number of a date as in `20250514`.
fn date_number(text: &str) -> Option<u32> {
    if text.len() != 8 || !text.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    let number: u32 = text.parse().ok()?;
    let part = |it: u32| i8::try_from(it % 100).ok();
    let year = i16::try_from(number / 10_000).ok().filter(|it| *it >= 2000)?;
    Date::new(year, part(number / 100)?, part(number)?).ok().map(|_| number)
}

/// A family of Anthropic's models, and a version of it.
struct Version<'a> {
    family: &'a str,
    major: u8,
    /// 0 where the name has none: Anthropic calls Opus 4 `claude-opus-4-0` as well.
    minor: u8,
}

impl<'a> Version<'a> {
    /// Reads `claude-opus-4-8`, `claude-4-8-opus`, and both with points: `claude-opus-4.8`.
    fn read(name: &'a str) -> Option<Version<'a>> {
        let name = name.strip_prefix("claude-")?;
        let is_family =
            |it: &str| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_lowercase());
        let (first, behind) = name.split_once('-')?;
        let (family, version) = match is_family(first) {
            true => (first, behind),
            false => name.rsplit_once('-').map(|(version, family)| (family, version))?,
        };
        let (major, minor) = version.split_once(['-', '.']).unwrap_or((version, "0"));
        let (major, minor) = (version_number(major)?, version_number(minor)?);
        is_family(family).then_some(Version { family, major, minor })
    }

    /// The name as Anthropic writes it today.
    fn name(&self) -> String {
        let Version { family, major, minor } = self;
        match minor {
            0 => format!("claude-{family}-{major}"),
            minor => format!("claude-{family}-{major}-{minor}"),
        }
    }
}

/// A number of one or two digits, without a zero before it.
fn version_number(text: &str) -> Option<u8> {
    let is_number = matches!(text.len(), 1..=2) && text.bytes().all(|it| it.is_ascii_digit());
    let has_zero = text.len() == 2 && text.starts_with('0');
    (is_number && !has_zero).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(names: &[&str], model: &str) {
        for name in names {
            assert_eq!(Spelling::read(name).model, model, "{name}");
        }
    }

    #[test]
    fn every_spelling_of_a_model_is_its_name() {
        check(
            &[
                "claude-opus-4-8",
                "claude-opus-4.8",
                "claude-4.8-opus",
                "claude-4-8-opus",
                "Claude-Opus-4.8",
                "anthropic/claude-4.8-opus:thinking",
                "openrouter/anthropic/claude-opus-4.8:beta",
                "databricks-claude-opus-4-8",
                "anthropic--claude-4.8-opus",
                "vertex_ai/claude-opus-4-8@default",
                "claude-opus-4-8[1M]",
                "claude-opus-4-8-20260101-thinking[1m]",
                "claude-opus-4-8-2026-01-01",
                "claude-opus-4-8@latest",
                "bedrock/us-east-1/anthropic.claude-opus-4-8-20260101-v1:0:200k",
                "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-4-8-v1:0",
                "claude-opus-4-8-fast",
            ],
            "claude-opus-4-8",
        );
        check(&["claude-4-sonnet", "claude-sonnet-4", "claude-sonnet-4.0"], "claude-sonnet-4");
        check(&["claude-3.5-haiku", "claude-haiku-3-5"], "claude-haiku-3-5");
    }

    #[test]
    fn what_no_rule_explains_stays_part_of_the_name() {
        for name in [
            "claude-opus",
            "claude-opus-4-8-turbo",
            "claude-opus-4-8-v",
            "claude-opus-4-8:free",
            "claude-opus-4-8-1",
            "claude-4-opus-8",
            "claude-opus-4..8",
            "claude-opus-04-8",
            "claude-opus-4-8-20261301",
            "claude-5-opus-20990101x",
            "my-claude-opus-4-8",
            "x.anthropic.claude-opus-4-8",
            "grok-4-fast",
            "kimi-k2-thinking",
            "deepseek-v3",
            "",
            "é",
            "claude-ééééééééééé",
        ] {
            check(&[name], name);
        }
        check(&["claude-opus-4-8-20260101-20260102"], "claude-opus-4-8-20260101");
    }

    #[test]
    fn a_name_may_say_how_the_model_was_called() {
        let read = Spelling::read;
        assert!(read("claude-opus-4-8-fast[1m]").is_fast && !read("claude-opus-4-8").is_fast);
        assert_eq!(read("claude-opus-4@20250514").release, Release::Dated(20_250_514));
        assert_eq!(read("claude-3-5-haiku:latest").release, Release::Latest);
        for (name, place) in [
            ("claude-opus-4-8", Place::Global),
            ("anthropic.claude-opus-4-8", Place::Global),
            ("global.anthropic.claude-opus-4-8", Place::Global),
            ("us.anthropic.claude-opus-4-8", Place::Geography),
            ("bedrock/converse/APAC.anthropic.claude-opus-4-8", Place::Geography),
            ("us-gov.anthropic.claude-opus-4-8", Place::GovCloud),
            ("bedrock/us-gov-west-1/anthropic.claude-opus-4-8", Place::GovCloud),
            ("bedrock/us-east-1/anthropic.claude-opus-4-8", Place::Global),
        ] {
            assert_eq!(read(name).place, place, "{name}");
        }
        assert!(read("claude-sonnet-4.5").has_premium && read("claude-mythos-preview").has_premium);
        assert!(!read("claude-opus-4-1").has_premium && !read("claude-3-7-sonnet").has_premium);
    }

    #[test]
    fn a_plain_name_is_nothing_but_a_model_and_its_release() {
        let is_plain = |name: &str| Spelling::read(name).is_plain;
        assert!(is_plain("claude-opus-4-8") && is_plain("claude-4-sonnet-20250514"));
        assert!(is_plain("claude-3-5-haiku-latest") && is_plain("house-model"));
        assert!(!is_plain("us.anthropic.claude-opus-4-8") && !is_plain("x/claude-opus-4-8"));
        assert!(!is_plain("claude-opus-4-8-fast") && !is_plain("claude-opus-4-8[1m]"));
    }
}
