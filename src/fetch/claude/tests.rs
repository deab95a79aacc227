use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use proptest::prelude::*;

use super::client::*;
use super::layout::*;
use super::preview::preview;
use super::scan::Scan;
use super::transcript::*;
use crate::store::schema::{
    BackgroundJob, ClientFacts, Limit, Limits, Lines, Message, Model, PromptCache, PullRequest,
    SessionId, SessionKind, Status, Task,
};
use crate::usage::entry::{Entry, EntryTokens, Id, ReplyId, hash};

const REPLY: &str = r#"{"isSidechain":false,"message":{"id":"msg_1","role":"assistant",
    "model":"claude-opus-4-8","content":[{"type":"text","text":"All  done.\n"}],
    "stop_reason":"end_turn","usage":{"input_tokens":12,"cache_creation_input_tokens":1500,
    "cache_read_input_tokens":21000,"output_tokens":42,"server_tool_use":{
    "web_search_requests":2},"cache_creation":{"ephemeral_1h_input_tokens":500,
    "ephemeral_5m_input_tokens":1000},"inference_geo":"us","speed":"fast"}},
    "requestId":"req_1","type":"assistant","timestamp":"2026-11-23T11:15:04.017Z",
    "cwd":"/w/p","gitBranch":"main","sessionId":"s-1"}"#;
const AT: i64 = 1_795_432_504_017;

fn fold(lines: &[&str]) -> (TranscriptFacts, Vec<Entry>) {
    let mut fold = Fold::resume(TranscriptFacts::default());
    for (n, line) in (0..).zip(lines) {
        fold.add_line(n * 1000, line.as_bytes());
    }
    let (entries, facts) = fold.finish();
    (facts, entries.into_iter().map(|(_, it)| it).collect())
}

fn prompt(content: &str) -> String {
    let at = "2026-11-23T11:15:00Z";
    format!(r#"{{"type":"user","timestamp":"{at}","message":{{"content":{content}}}}}"#)
}

#[test]
fn a_reply_is_an_entry_and_the_newest_facts() {
    let (facts, entries) = fold(&[REPLY]);
    let tokens = EntryTokens {
        input: 12,
        output: 42,
        cache_write_5m: 1000,
        cache_write_1h: 500,
        cache_read: 21000,
    };
    let entry = Entry {
        at_ms: AT,
        id: ReplyId::Api { message: Id::of("msg_1"), request: Some(Id::of("req_1")) },
        session: Some("s-1".into()),
        is_sidechain: false,
        model: "claude-opus-4-8".into(),
        tokens,
        n_web_searches: 2,
        is_fast: true,
        is_us_only: true,
        cost_usd: None,
        cwd: Some("/w/p".into()),
        branch: Some("main".into()),
        agent: None,
    };
    assert_eq!(entries, [entry]);
    let expected = TranscriptFacts {
        session: Some("s-1".into()),
        is_sidechain: Some(false),
        cwd: Some("/w/p".into()),
        model: Some("claude-opus-4-8".into()),
        context_tokens: Some(22512),
        context_as_of_ms: Some(AT),
        last_message: Some(Message { at_ms: AT, preview: Some("All done.".into()) }),
        last_reply_ms: Some(AT),
        last_line_ms: Some(AT),
        ..TranscriptFacts::default()
    };
    assert_eq!(facts, expected);
}

/// Checks the entry of [`REPLY`] with `from` replaced by `to`.
#[track_caller]
fn check_entry(from: &str, to: &str, expected: Option<EntryTokens>) {
    assert!(REPLY.contains(from));
    let (facts, entries) = fold(&[&REPLY.replace(from, to)]);
    assert_eq!(entries.first().map(|it| it.tokens), expected, "{to}");
    assert_eq!(facts.skipped_lines, 0);
}

#[test]
fn a_field_of_the_wrong_type_is_missing_and_the_others_are_read() {
    let all = fold(&[REPLY]).1[0].tokens;
    check_entry("\"s-1\"", "{\"a\":[null]}", Some(all));
    check_entry("\"msg_1\"", "7", Some(all));
    check_entry("[{\"type\":\"text\"", "[null,3,[{}],{\"type\":\"text\"", Some(all));
    check_entry("\"fast\"", "null", Some(all));
    check_entry("21000", "21000.0", Some(all));
    check_entry("21000", "-1", Some(EntryTokens { cache_read: 0, ..all }));
    check_entry("21000", "\"many\"", Some(EntryTokens { cache_read: 0, ..all }));
    check_entry(":12,", ":-500,", Some(EntryTokens { input: 0, ..all }));
    check_entry(":42,", ":null,", Some(EntryTokens { output: 0, ..all }));
    check_entry(":42,", ":[1],", Some(EntryTokens { output: 0, ..all }));
    check_entry(":12,", ":1.5,", Some(EntryTokens { input: 0, ..all }));
    check_entry(
        "\"cache_creation\":",
        "\"other\":",
        Some(EntryTokens { cache_write_5m: 1500, cache_write_1h: 0, ..all }),
    );
}

#[test]
fn what_is_written_to_the_cache_beyond_the_breakdown_is_written_for_five_minutes() {
    let all = fold(&[REPLY]).1[0].tokens;
    let check = |from, to, cache_write_5m, cache_write_1h| {
        check_entry(from, to, Some(EntryTokens { cache_write_5m, cache_write_1h, ..all }));
    };
    check(":1500,", ":1700,", 1200, 500);
    check(":1500,", ":0,", 1000, 500);
    check(":1500,", ":null,", 1000, 500);
    check(":1000}", ":null}", 1000, 500);
    check(":500,", ":-1,", 1500, 0);
    check("\"ephemeral_1h_input_tokens\"", "\"other\"", 1500, 0);
    check("\"cache_creation\":{", "\"cache_creation\":null,\"other\":{", 1500, 0);
}

#[test]
fn a_count_that_no_request_can_have_is_zero_and_its_line_is_counted_among_the_unreadable() {
    let all = fold(&[REPLY]).1[0].tokens;
    for (from, expected) in [
        (":42,", EntryTokens { output: 0, ..all }),
        (":12,", EntryTokens { input: 0, ..all }),
        (":21000,", EntryTokens { cache_read: 0, ..all }),
        (":500,", EntryTokens { cache_write_5m: 1500, cache_write_1h: 0, ..all }),
        (":1500,", all),
        (":2}", all),
    ] {
        for count in ["100000001", "1e300", "18446744073709551615", "99999999999999999999999"] {
            let end = &from[from.len() - 1..];
            let line = REPLY.replace(from, &format!(":{count}{end}"));
            let (facts, entries) = fold(&[&line]);
            assert_eq!((entries[0].tokens, facts.skipped_lines), (expected, 1), "{from} {count}");
        }
    }
    check_entry(":42,", ":100000000,", Some(EntryTokens { output: 100_000_000, ..all }));
}

#[test]
fn without_counts_or_a_time_there_is_no_entry() {
    check_entry("\"input_tokens\"", "\"other\"", None);
    check_entry("\"output_tokens\"", "\"other\"", None);
    check_entry("2026-11-23T11:15:04.017Z", "yesterday", None);
    check_entry("\"message\":", "\"toolUseResult\":", None);
}

#[test]
fn an_advisors_reply_is_an_entry_of_its_own() {
    let iterations = r#""iterations":[{"type":"message","input_tokens":1,"output_tokens":1},
        {"type":"advisor_message","model":"claude-opus-5","input_tokens":7,"output_tokens":8}],
        "speed":"fast""#;
    let line = REPLY.replace("\"speed\":\"fast\"", iterations);
    let (_, entries) = fold(&[&line]);
    let found: Vec<_> = entries.iter().map(|it| (&it.id, &*it.model, it.is_fast)).collect();
    let id = ReplyId::Api { message: Id::of("msg_1"), request: Some(Id::of("req_1")) };
    assert_eq!(found, [(&id.part(1), "claude-opus-5", false), (&id, "claude-opus-4-8", true)]);
}

#[test]
fn of_a_replys_lines_only_the_one_with_the_most_tokens_is_an_entry() {
    let [less, more] = [1, 99].map(|it| REPLY.replace("42", &it.to_string()));
    let (_, entries) = fold(&[&less, &more, REPLY]);
    assert_eq!(entries.iter().map(|it| it.tokens.output).collect::<Vec<_>>(), [99]);
    let other = REPLY.replace("req_1", "req_2");
    assert_eq!(fold(&[REPLY, &other]).1.len(), 2);
}

/// A reply of a gateway, which sends no request id. `uuid` is the client's id of the line; `id` is
/// the gateway's of the message. Both are left out where they are empty.
fn gateway(uuid: &str, id: &str, counts: (u64, u64)) -> String {
    let line = REPLY.replace("\"requestId\":\"req_1\",", "").replace("\"msg_1\"", "\"GATEWAY\"");
    let line = match id {
        "" => line.replace("\"id\":\"GATEWAY\",", ""),
        _ => line.replace("GATEWAY", id),
    };
    let line = match uuid {
        "" => line,
        _ => line.replace("\"cwd\"", &format!("\"uuid\":\"{uuid}\",\"cwd\"")),
    };
    line.replace(":12,", &format!(":{},", counts.0)).replace(":42,", &format!(":{},", counts.1))
}

/// The replies in `entries`, each with the hashes of its lines and the tokens in its best entry, as
/// the ledger finds them: two entries with a hash in common are one reply.
fn replies(entries: &[Entry]) -> Vec<(BTreeSet<u64>, EntryTokens)> {
    let mut replies: Vec<(BTreeSet<u64>, usize)> = Vec::new();
    let is_better = |a: usize, b: usize| {
        let [all_a, all_b] = [a, b].map(|n| entries[n].tokens.all());
        all_a > all_b || all_a == all_b && a < b
    };
    for (n, entry) in entries.iter().enumerate() {
        let ReplyId::Lines(lines) = &entry.id else { panic!("{:?}", entry.id) };
        let mut reply = (lines.iter().copied().collect::<BTreeSet<_>>(), n);
        assert!(!reply.0.is_empty());
        while let Some(at) = replies.iter().position(|(it, _)| !it.is_disjoint(&reply.0)) {
            let (lines, other) = replies.remove(at);
            reply.0.extend(lines);
            reply.1 = if is_better(other, reply.1) { other } else { reply.1 };
        }
        replies.push(reply);
    }
    replies.sort();
    replies.into_iter().map(|(lines, n)| (lines, entries[n].tokens)).collect()
}

#[track_caller]
fn check_replies(lines: &[&str], mut outputs: Vec<u64>) {
    let mut found: Vec<_> = replies(&fold(lines).1).into_iter().map(|it| it.1.output).collect();
    found.sort_unstable();
    outputs.sort_unstable();
    assert_eq!(found, outputs);
}

#[test]
fn lines_of_a_gateways_reply_have_one_id_equal_input_growing_output_and_no_prompt_between() {
    let asked = prompt("\"x\"");
    let result = prompt(r#"[{"type":"tool_result","content":"x"}]"#);
    let other = r#"{"type":"system","subtype":"note"}"#;
    let [a, b, c] = [("u1", 1), ("u2", 40), ("u3", 40)].map(|(uuid, n)| gateway(uuid, "g", (5, n)));
    check_replies(&[&a, other, &b, &c], vec![40]);
    check_replies(&[&a, &asked, &b, &result, &c], vec![1, 40, 40]);
    check_replies(&[&b, &a], vec![40, 1]);
    check_replies(&[&a, &gateway("u4", "g", (6, 40))], vec![1, 40]);
    check_replies(&[&a, &gateway("u4", "h", (5, 40))], vec![1, 40]);
    let parallel = gateway("u4", "g", (6, 2));
    check_replies(&[&a, &parallel, &b], vec![40, 2]);
    let elsewhere = b.replace("s-1", "s-2");
    check_replies(&[&a, &elsewhere], vec![1, 40]);
    let cached = b.replace(":21000,", ":21001,");
    check_replies(&[&a, &cached], vec![1, 40]);
}

#[test]
fn a_sidechains_lines_and_prompts_do_not_mix_with_the_main_chains() {
    let side = |line: &str| line.replace("\"isSidechain\":false", "\"isSidechain\":true");
    let [a, b] = [("u1", 1), ("u2", 40)].map(|(uuid, n)| gateway(uuid, "g", (5, n)));
    check_replies(&[&a, &side(&b)], vec![1, 40]);
    let asked = prompt("\"x\"").replace("{\"type\"", "{\"isSidechain\":true,\"type\"");
    check_replies(&[&a, &asked, &b], vec![40]);
    let result = asked.replace("\"x\"", r#"[{"type":"tool_result","content":"x"}]"#);
    check_replies(&[&a, &result, &b], vec![40]);
    check_replies(&[&side(&a), &result, &side(&b)], vec![1, 40]);
}

#[test]
fn without_a_message_id_each_line_is_a_reply_and_its_copy_is_the_same() {
    let [a, b] = ["u1", "u2"].map(|uuid| gateway(uuid, "", (5, 7)));
    check_replies(&[&a, &b], vec![7, 7]);
    check_replies(&[&a, &b, &a.replace("s-1", "s-2")], vec![7, 7]);
    let requested = REPLY.replace("\"id\":\"msg_1\",", "");
    check_replies(
        &[&requested, &requested.replace("\"cwd\"", "\"uuid\":\"u\",\"cwd\"")],
        vec![42; 2],
    );
}

#[test]
fn equal_lines_without_any_id_are_as_many_replies_in_whichever_file_they_stand() {
    let line = gateway("", "", (5, 7));
    let (_, entries) = fold(&[&line, &line, &gateway("", "", (5, 8)), &line]);
    assert_eq!(replies(&entries).len(), 4);
    let (_, again) = fold(&["{}", &line, &line, &line]);
    assert!(again.iter().all(|it| entries.iter().any(|other| other.id == it.id)));
    // A record keeps these hashes, so they must stay what they are.
    assert_eq!(entries[0].id, ReplyId::Lines(vec![712_999_112_076_331_554]));
    assert_eq!(fold(&[&gateway("u1", "", (5, 7))]).1[0].id, ReplyId::Lines(vec![hash("u1")]));
}

#[test]
fn advice_in_a_gateways_reply_is_an_entry_of_its_own() {
    let advice = r#""iterations":[{"type":"advisor_message","model":"m","input_tokens":7,
        "output_tokens":8}],"speed":"fast""#;
    let line = |uuid: &str, n| gateway(uuid, "g", (5, n)).replace("\"speed\":\"fast\"", advice);
    check_replies(&[&line("u1", 1), &line("u2", 40)], vec![8, 40]);
}

proptest! {
    /// Many lines of few kinds, so that they are often of one reply.
    #[test]
    fn replies_do_not_depend_on_where_the_reads_of_a_file_begin(
        kinds in prop::collection::vec((0..12_u64, 0..3_usize, 0..3_u64, any::<bool>()), 0..30),
        cuts in prop::collection::btree_set(0..30_usize, 0..6),
    ) {
        let mut uuid = 0;
        let lines: Vec<String> = kinds.into_iter().map(|(kind, id, n, is_sidechain)| {
            let line = match kind {
                0 => prompt("\"x\""),
                1 => prompt(r#"[{"type":"tool_result","content":"x"}]"#),
                2 | 3 => gateway("", ["", "g", "h"][id], (n % 2, n)),
                _ => {
                    uuid += kind.min(5) - 4;
                    gateway(&format!("u{uuid}"), ["", "g", "h"][id], (n % 2, n))
                }
            };
            line.replace("{\"isSidechain\":false", "{").replacen('{', &format!(
                "{{\"isSidechain\":{is_sidechain},"), 1).replace(",,", ",")
        }).collect();
        let whole: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (facts, entries) = fold(&whole);
        let mut in_pieces = (TranscriptFacts::default(), Vec::new());
        for (n, line) in lines.iter().enumerate() {
            let mut fold = Fold::resume(in_pieces.0);
            fold.add_line(n as u64 * 1000, line.as_bytes());
            let (found, facts) = fold.finish();
            in_pieces.0 = facts;
            if cuts.contains(&n) {
                let kept = postcard::to_stdvec(&in_pieces.0).unwrap();
                in_pieces.0 = postcard::from_bytes(&kept).unwrap();
            }
            in_pieces.1.extend(found.into_iter().map(|(_, it)| it));
        }
        prop_assert_eq!(replies(&in_pieces.1), replies(&entries));
        prop_assert_eq!(in_pieces.0, facts);
    }
}

#[test]
fn a_compaction_empties_the_context_until_the_next_reply() {
    let boundary = r#"{"type":"system","subtype":"compact_boundary"}"#;
    let (facts, _) = fold(&[REPLY, boundary]);
    assert_eq!((facts.context_tokens, facts.compactions), (None, 1));
    assert_eq!(fold(&[boundary, REPLY]).0.context_tokens, Some(22512));
}

#[test]
fn a_subagents_reply_in_a_sessions_transcript_says_nothing_of_the_session() {
    let side = REPLY.replace("\"isSidechain\":false", "\"isSidechain\":true");
    let side = side.replace("21000", "5").replace("opus-4-8", "haiku-4-5");
    let (facts, entries) = fold(&[REPLY, &side]);
    assert_eq!(facts, fold(&[REPLY]).0);
    assert_eq!(entries.len(), 2);
    assert_eq!(fold(&[&side]).0.context_tokens, Some(1517));
}

#[test]
fn an_error_is_not_a_reply_of_the_model() {
    let error = r#"{"type":"assistant","isApiErrorMessage":true,"isSidechain":false,
        "timestamp":"2026-11-23T11:15:05Z","message":{"model":"<synthetic>","content":[
        {"type":"text","text":"API Error: 529"}],"usage":{"input_tokens":0,"output_tokens":0}}}"#;
    let (facts, _) = fold(&[REPLY, error]);
    assert_eq!(facts.model.as_deref(), Some("claude-opus-4-8"));
    assert_eq!(facts.context_tokens, Some(22512));
    assert_eq!(facts.last_reply_ms, Some(AT));
    let preview = facts.last_message.and_then(|it| it.preview);
    assert_eq!(preview.as_deref(), Some("API Error: 529"));
}

#[track_caller]
fn check_turn(content: &str, preview: Option<&str>) {
    let (facts, _) = fold(&[&prompt(content)]);
    assert_eq!(facts.turns, u64::from(preview.is_some()), "{content}");
    assert_eq!(facts.last_message.and_then(|it| it.preview).as_deref(), preview);
    assert_eq!(facts.skipped_lines, 0);
}

#[test]
fn only_what_a_person_typed_is_a_turn() {
    check_turn(r#""Fix  it\nplease""#, Some("Fix it please"));
    check_turn(r#"[{"type":"image"},{"type":"text","text":"See this"}]"#, Some("See this"));
    let editor = "<ide_opened_file>a.rs</ide_opened_file>";
    let content =
        format!(r#"[{{"type":"text","text":"{editor}"}},{{"type":"text","text":"Fix it"}}]"#);
    check_turn(&content, Some("Fix it"));
    let command = "<command-message>review</command-message>\\n<command-name>/review\
        </command-name>\\n<command-args>src</command-args>";
    check_turn(&format!("\"{command}\""), Some("/review src"));
    check_turn(r#""<command-name>/clear</command-name>""#, None);
    check_turn(r#""<local-command-stdout></local-command-stdout>""#, None);
    check_turn(r#"[{"type":"text","text":"[Request interrupted by user]"}]"#, None);
    check_turn(r#"[{"type":"tool_result","content":"x"},{"type":"text","text":"y"}]"#, None);
    check_turn("\"\"", None);
    check_turn("null", None);
    let summary = prompt("\"x\"").replace("{\"type\"", "{\"isCompactSummary\":true,\"type\"");
    let meta = prompt("\"x\"").replace("{\"type\"", "{\"isMeta\":true,\"type\"");
    let subagent = prompt("\"x\"").replace("{\"type\"", "{\"isSidechain\":true,\"type\"");
    assert_eq!(fold(&[&summary, &meta]).0.turns, 0);
    assert_eq!(fold(&[&subagent]).0.turns, 0);
}

#[test]
fn a_turn_is_open_until_its_reply_ends_it() {
    let open = |lines: &[&str]| fold(lines).0.is_turn_open;
    let asked = prompt("\"x\"");
    let calls_a_tool = REPLY.replace("end_turn", "tool_use");
    let interrupted = prompt(r#"[{"type":"text","text":"[Request interrupted by user]"}]"#);
    assert!(open(&[&asked]));
    assert!(open(&[&asked, &calls_a_tool]));
    assert!(!open(&[&asked, &calls_a_tool, REPLY]));
    assert!(!open(&[&asked, &calls_a_tool, &interrupted]));
    assert!(!open(&[&asked, r#"{"type":"system","subtype":"turn_duration"}"#]));
}

#[test]
fn a_persons_title_beats_the_clients() {
    let ai = r#"{"type":"ai-title","aiTitle":"Fixes"}"#;
    let custom = r#"{"type":"custom-title","customTitle":"Mine"}"#;
    assert_eq!(fold(&[ai]).0.title(), Some("Fixes"));
    assert_eq!(fold(&[custom, ai]).0.title(), Some("Mine"));
}

#[test]
fn unreadable_lines_are_counted() {
    let lines = ["", " \r", "{\"par", "\0\0\0", "7", "[]", "{\"tool_result\":\"", "{}", "null"];
    assert_eq!(fold(&lines).0.skipped_lines, 6);
}

/// Checks the text of `string`, which is JSON without its quotes, wherever a text is read.
#[track_caller]
fn check_text(string: &[u8], expected: &str) {
    let document =
        |before: &str, after: &str| [before.as_bytes(), string, after.as_bytes()].concat();
    let mut fold = Fold::resume(TranscriptFacts::default());
    let before = r#"{"type":"user","timestamp":"2026-11-23T11:15:00Z","message":{"content":""#;
    fold.add_line(0, &document(before, r#""}}"#));
    fold.add_line(1000, &document(r#"{"type":"custom-title","customTitle":""#, r#""}"#));
    let (_, facts) = fold.finish();
    assert_eq!((facts.turns, facts.skipped_lines), (1, 0), "{expected}");
    assert_eq!(facts.last_message.unwrap().preview.unwrap(), preview(expected));
    assert_eq!(facts.custom_title.as_deref(), Some(expected));

    let facts = parse_stdin(&document(r#"{"session_name":""#, r#"","cwd":"/w"}"#)).unwrap();
    assert_eq!((facts.session_name.as_deref(), facts.cwd.as_deref()), (Some(expected), Some("/w")));
    let file = parse_session_file(&document(r#"{"name":""#, r#"","pid":1}"#)).unwrap();
    assert_eq!(file.name.as_deref(), Some(expected));
    let (_, tasks) = parse_subagents(&document(r#"{"tasks":[{"label":""#, r#"","id":"a"}]}"#));
    assert_eq!(tasks[0].label.as_deref(), Some(expected));
}

#[test]
fn what_is_not_text_in_a_string_loses_itself_and_nothing_else() {
    check_text(br"cut \ud83d here", "cut \u{fffd} here");
    check_text(br"cut here\uD83D", "cut here\u{fffd}");
    check_text(br"\ude00 and the other half", "\u{fffd} and the other half");
    check_text(br"\ud83d\ud83d\ude00", "\u{fffd}😀");
    check_text(br"\ud83d\n\u00e9", "\u{fffd}\né");
    check_text(br"\ude00\ud83d", "\u{fffd}\u{fffd}");
    check_text(br"no \x escape, and \u12", "no \u{fffd}x escape, and \u{fffd}12");
    check_text(br#"\"\\\/\b\f\n\r\t\u0041\ud83d\ude00"#, "\"\\/\u{8}\u{c}\n\r\tA😀");
    check_text(b"a byte \xff and \xe2\x82 a part", "a byte \u{fffd} and \u{fffd} a part");
    check_text(b"both \xff \\ud83d", "both \u{fffd} \u{fffd}");
    check_text(b"zero \0 and \\u0000 and \\n", "zero \0 and \0 and \n");
    check_text("a \u{feff}mark".as_bytes(), "a \u{feff}mark");
}

#[test]
fn what_stands_around_a_document_loses_itself_and_nothing_else() {
    let around: [(&[u8], &[u8]); 4] =
        [(b"\xef\xbb\xbf", b""), (b"\0\0\0", b""), (b" \xef\xbb\xbf\t", b"\r"), (b"", b"\0\0")];
    for (before, after) in around {
        let document = |json: &str| [before, json.as_bytes(), after].concat();
        let mut fold = Fold::resume(TranscriptFacts::default());
        fold.add_line(0, &document(&prompt("\"x\"")));
        fold.add_line(1000, &document(REPLY));
        let (entries, facts) = fold.finish();
        assert_eq!((facts.turns, facts.skipped_lines, entries.len()), (1, 0, 1), "{before:?}");
        assert!(parse_stdin(&document("{}")).is_some());
        assert!(parse_session_file(&document(r#"{"pid":1}"#)).is_some());
        assert_eq!(parse_subagents(&document(r#"{"columns":9}"#)).0, Some(9));
    }
}

#[test]
fn the_width_that_a_display_states_is_read_and_nonsense_in_its_place_is_not() {
    let columns = |value: &str| {
        let document = format!(r#"{{"version":"2.1.332","ccstatusd":{value},"cwd":"/w"}}"#);
        let facts = parse_stdin(document.as_bytes()).unwrap().clipped();
        assert_eq!(facts.cwd.as_deref(), Some("/w"), "{value}");
        facts.fit.map(|it| it.columns)
    };
    assert_eq!(columns(r#"{"columns":156}"#), Some(156));
    for nonsense in ["null", "156", "{}", r#"{"columns":0}"#, r#"{"columns":-1}"#] {
        assert_eq!(columns(nonsense), None, "{nonsense}");
    }
    for nonsense in [r#"{"columns":65536}"#, r#"{"columns":"9"}"#, r#"{"columns":[9]}"#] {
        assert_eq!(columns(nonsense), None, "{nonsense}");
    }
}

#[test]
fn a_name_in_which_nothing_is_visible_is_missing() {
    for blank in ["", "  ", r"\u0000", r"\t\u200b", "\u{feff}"] {
        let document = format!(
            r#"{{"session_name":"{blank}","cwd":"{blank}","workspace":{{"current_dir":"/w"}},
            "model":{{"id":"m","display_name":"{blank}"}},"agent":{{"name":"{blank}"}},
            "pid":1,"name":"{blank}"}}"#
        );
        let facts = parse_stdin(document.as_bytes()).unwrap();
        let model = Some(Model { id: "m".into(), display_name: None });
        let expected = ClientFacts { model, cwd: Some("/w".into()), ..ClientFacts::default() };
        assert_eq!(facts, expected, "{blank:?}");
        assert_eq!(parse_session_file(document.as_bytes()).unwrap().name, None);
        let custom = format!(r#"{{"type":"custom-title","customTitle":"{blank}"}}"#);
        let ai = r#"{"type":"ai-title","aiTitle":"Fixes"}"#;
        assert_eq!(fold(&[ai, &custom]).0.title(), Some("Fixes"));
        let reply = REPLY.replace("claude-opus-4-8", blank).replace("/w/p", blank);
        let (facts, _) = fold(&[REPLY, &reply]);
        assert_eq!(facts.model.as_deref(), Some("claude-opus-4-8"));
        assert_eq!(facts.cwd.as_deref(), Some("/w/p"));
    }
    let unnamed = parse_stdin(br#"{"model":{"id":" ","display_name":"Opus 4.8"}}"#).unwrap();
    assert_eq!(unnamed.model.and_then(|it| it.display_name).as_deref(), Some("Opus 4.8"));
}

/// A line of each kind in which the client keeps something for itself, as 2.1.332 writes it.
const BOOKKEEPING: [&str; 20] = [
    r#"{"type":"agent-name","agentName":"n","sessionId":"s-1"}"#,
    r#"{"type":"api-request","sessionId":"s-1","timestamp":"2026-11-25T15:26:08.665Z",
        "params":{"model":"claude-opus-5-5"},"tail":["H"],"cacheControl":[{"path":["system",0]}]}"#,
    r#"{"type":"api-request-blob","sessionId":"s-1","timestamp":"2026-11-25T15:26:08.665Z",
        "message":{"role":"user","content":"hello there"}}"#,
    r#"{"type":"api-request-blob","sessionId":"s-1","timestamp":"2026-11-25T15:26:08.665Z",
        "message":{"role":"assistant","id":"msg_9","model":"claude-haiku-4-5",
        "content":[{"type":"text","text":"Hello"}],
        "usage":{"input_tokens":1,"output_tokens":2}}}"#,
    r#"{"sessionId":"s-1","timestamp":"2026-11-25T15:26:08.665Z","message":{"role":"user",
        "content":"hello there","usage":{"input_tokens":1,"output_tokens":2}},
        "type":"api-request-blob"}"#,
    r#"{"type":"api-request-shape","sessionId":"s-1","timestamp":"2026-11-25T15:26:08.665Z",
        "shape":{"system":[{"type":"text","text":"You are"}],"tools":[{"name":"Agent",
        "input_schema":{"properties":{"usage":{"type":"string"}}}}]}}"#,
    r#"{"type":"atis-latch","atis":"","sessionId":"s-1"}"#,
    r#"{"type":"cost-state","sessionId":"s-1","totalCostUSD":0.04,"totalDuration":21505,
        "modelUsage":{"claude-opus-5-5":{"inputTokens":36,"costUSD":0.04}}}"#,
    r#"{"type":"file-history-delta","messageId":"m","backup":{"version":1},
        "timestamp":"2026-11-25T15:30:38.466Z"}"#,
    r#"{"type":"file-history-snapshot","messageId":"m","snapshot":{"trackedFileBackups":{},
        "timestamp":"2026-11-25T15:26:08.327Z"},"isSnapshotUpdate":false}"#,
    r#"{"type":"fork-context-ref","agentId":"a","parentSessionId":"s-0","contextLength":4}"#,
    r#"{"type":"last-prompt","lastPrompt":"hello there","leafUuid":"u","sessionId":"s-1"}"#,
    r#"{"type":"mode","mode":"normal","sessionId":"s-1"}"#,
    r#"{"type":"permission-mode","permissionMode":"auto","sessionId":"s-1"}"#,
    r#"{"type":"queue-operation","operation":"enqueue","sessionId":"s-1","content":"hi"}"#,
    r#"{"type":"relocated","sessionId":"s-1","relocatedCwd":"/home/u/other"}"#,
    r#"{"type":"summary","summary":"Fixes","leafUuid":"u"}"#,
    r#"{"type":"tools-used","tools":["Bash"],"sessionId":"s-1"}"#,
    r#"{"type":"worktree-state","worktreeSession":{"worktreePath":"/w/p/.claude/worktrees/wt1",
        "originalBranch":"main","sessionId":"s-1"},"sessionId":"s-1"}"#,
    r#"{"type":"of-next-month","message":{"role":"user","content":"no prompt"}}"#,
];

#[test]
fn a_line_that_the_client_keeps_for_itself_changes_nothing() {
    let asked = prompt("\"x\"");
    let (expected, entries) = fold(&[&asked, REPLY]);
    for kind in BOOKKEEPING {
        // In a transcript it has no newlines.
        let line = kind.replace("\n        ", "");
        let (mut facts, found) = fold(&[&line, &asked, &line, REPLY, &line]);
        let is_cost = line.starts_with(r#"{"type":"cost-state""#);
        assert_eq!(facts.client_cost_usd.take(), is_cost.then_some(0.04), "{line}");
        assert_eq!((facts, found), (expected.clone(), entries.clone()), "{line}");
    }
    let torn = r#"{"type":"api-request-blob","sessionId":"s"#;
    assert_eq!(fold(&[torn]).0.skipped_lines, 1);
}

const PROGRESS: &str = r#"{"type":"progress","sessionId":"s-1","data":{"n":[1,12],"message":{"type":
    "assistant","timestamp":"2026-11-23T11:15:04Z","message":{"id":"msg_8","usage":
    {"input_tokens":1,"output_tokens":2}},"requestId":"req_8"},"said":"a \\ \"{\"type\":\"x\"}"},
    "timestamp":"2026-11-23T11:15:04Z","uuid":"u"}"#;

/// A whole reply, with this message id, on one line.
fn whole(id: &str) -> Vec<u8> {
    REPLY.replace("\n    ", "").replace("msg_1", id).into_bytes()
}

#[track_caller]
fn check_damaged(line: &[u8], expected: &[&str], skipped_lines: u64) {
    let mut fold = Fold::resume(TranscriptFacts::default());
    fold.add_line(0, line);
    let (entries, facts) = fold.finish();
    let id = |it: &&str| ReplyId::Api { message: Id::of(it), request: Some(Id::of("req_1")) };
    let ids: Vec<ReplyId> = entries.iter().map(|(_, it)| it.id.clone()).collect();
    let found = (ids, facts.skipped_lines);
    let line = String::from_utf8_lossy(line);
    assert_eq!(found, (expected.iter().map(id).collect(), skipped_lines), "{line}");
    let offsets: BTreeSet<u64> = entries.iter().map(|it| it.0).collect();
    assert_eq!(offsets.len(), entries.len());
}

#[test]
fn a_record_glued_to_the_torn_beginning_of_another_counts() {
    let progress = PROGRESS.replace("\n    ", "");
    let result = r#"{"type":"user","timestamp":"2026-11-23T11:15:00Z","message":{"content":
        [{"type":"tool_result","content":"\u00e9 \\\" {"}]},"toolUseResult":{"n":-1.5e3}}"#;
    let request = r#"{"type":"api-request-blob","message":{"id":"msg_9","usage":{"a":[true]}}}"#;
    let nested_ends = progress.find("},\"said\"").unwrap() + 1;
    let torn = [REPLY, &progress, result, request, r#"{"type":"pr-link","prNumber":12}"#];
    for torn in torn.map(|it| it.replace("\n    ", "")) {
        // One record is a part of another. Where it is torn off right behind that part, nothing
        // tells this from a record that was glued to the beginning before the part.
        for at in (1..torn.len()).filter(|at| torn != progress || *at != nested_ends) {
            let start = &torn.as_bytes()[..at];
            check_damaged(&[start, &whole("msg_2")].concat(), &["msg_2"], 1);
            check_damaged(&[start, &whole("msg_2"), start].concat(), &["msg_2"], 1);
            check_damaged(
                &[start, &whole("msg_2"), &whole("msg_3")].concat(),
                &["msg_2", "msg_3"],
                1,
            );
            check_damaged(&[&whole("msg_2"), start].concat(), &["msg_2"], 1);
            check_damaged(&[start, b"\0\0", &whole("msg_2"), b"\0\0"].concat(), &["msg_2"], 1);
            for other in [&b"{\"ty"[..], b"{\"a\":\"b\\", b"{\"a\":{\"b\":[1"] {
                check_damaged(&[start, other, &whole("msg_2")].concat(), &["msg_2"], 1);
                check_damaged(&[other, start, &whole("msg_2")].concat(), &["msg_2"], 1);
            }
        }
    }
}

#[test]
fn whole_records_in_one_line_count_and_nothing_of_the_line_is_unreadable() {
    let [a, b] = ["msg_2", "msg_3"].map(whole);
    let between: [&[u8]; 5] = [b"", b"\0\0\0", b"\xef\xbb\xbf", b" ", b"\0 \xef\xbb\xbf\0"];
    for between in between {
        check_damaged(&[&a, between, &b].concat(), &["msg_2", "msg_3"], 0);
        check_damaged(&[between, &a, between, &b, between].concat(), &["msg_2", "msg_3"], 0);
    }
}

#[test]
fn a_record_that_is_a_part_of_another_is_none_of_its_own() {
    let progress = PROGRESS.replace("\n    ", "").into_bytes();
    check_damaged(&progress, &[], 0);
    check_damaged(&[&progress, &whole("msg_2")[..]].concat(), &["msg_2"], 0);
    let quoted = serde_json::to_string(&String::from_utf8(whole("msg_3")).unwrap()).unwrap();
    let line = format!(r#"{{"type":"user","message":{{"content":{quoted}}},"n":"#);
    check_damaged(line.as_bytes(), &[], 1);
    check_damaged(&[line.as_bytes(), &whole("msg_2")].concat(), &["msg_2"], 1);
}

/// The work for a line must not grow with the square of its length.
#[test]
fn a_hostile_line_is_taken_apart_in_little_time() {
    const N: usize = 1 << 18;
    let give_up_at = crate::time::Now::read().mono + std::time::Duration::from_secs(20);
    let pieces = [
        r#"{"a":"#,
        r#"{"a":["#,
        r#"{""#,
        r#"{"{"#,
        "{",
        r#"{"a":{}"#,
        r#"{"a":"\\"#,
        r#"{"\"#,
        "{ \t",
        r#"{"timestamp":"2026-11-23T11:15:04Z","a":["#,
        r#"{"a":1,"#,
        r#"{"usage":{"a":"}"#,
        "\0{",
    ];
    for piece in pieces {
        for (before, after) in [("", ""), ("{\"a\":", "\""), ("{\"a\":\"", "}"), ("[", "]]]}}}")] {
            let line = format!("{before}{}{after}\"usage\"", piece.repeat(N / piece.len()));
            let mut fold = Fold::resume(TranscriptFacts::default());
            fold.add_line(0, line.as_bytes());
            assert!(crate::time::Now::read().mono < give_up_at, "{before}{piece}…");
            assert_eq!(fold.finish().0.len(), 0);
        }
    }
}

#[track_caller]
fn check_preview(text: &str, expected: &str) {
    assert_eq!(preview(text), expected);
}

#[test]
fn a_preview_is_one_plain_line() {
    check_preview(" a\tb\r\n\u{2028}c ", "a b c");
    check_preview("\u{1b}[31mred\u{7} \u{202e}dab\u{2066} \u{1b} x", "[31mred dab x");
    check_preview("👩\u{200d}🚀", "👩\u{200d}🚀");
    check_preview(&"é".repeat(120), &"é".repeat(120));
    check_preview(&"🇩🇪".repeat(121), &format!("{}…", "🇩🇪".repeat(120)));
}

#[test]
fn a_limit_that_is_used_up_is_read_from_the_error_that_says_so() {
    let read = |quota: &str| {
        let mut fold = Fold::resume(TranscriptFacts::default());
        let line = format!(
            r#"{{"type":"assistant","isApiErrorMessage":true,"timestamp":"2026-11-25T15:47:48.494Z",
                "message":{{"model":"<synthetic>","content":[]}},"quotaLimits":{quota}}}"#
        );
        fold.add_line(0, line.as_bytes());
        fold.finish().1.used_up.map(|it| *it)
    };
    let stated = |kind: &str, status: &str| {
        read(&format!(r#"{{"status":"{status}","resetsAt":1795640000,"rateLimitType":"{kind}"}}"#))
    };
    let resets_at_ms = 1_795_640_000_000;
    let limit = Some(Limit { used_percentage: 100.0, resets_at_ms, ..Limit::default() });
    let at_ms = 1_795_621_668_494;
    let expected = Limits { five_hour: limit, ..Limits::default() };
    assert_eq!(stated("five_hour", "rejected"), Some((expected, at_ms)));
    let expected = Limits { seven_day: limit, ..Limits::default() };
    assert_eq!(stated("seven_day", "rejected"), Some((expected, at_ms)));
    assert_eq!(stated("seven_day", "allowed"), None, "it is not used up");
    assert_eq!(stated("a window of the future", "rejected"), None);
    assert_eq!(read("null"), None);
    assert_eq!(read("[7]"), None);
}

#[test]
fn a_session_file_needs_a_pid_and_nothing_else() {
    let file = parse_session_file(
        br#"{"pid":12,"sessionId":"s-1","cwd":"/w","procStart":345,"startedAt":9,
            "name":"n","status":"waiting","waitingFor":"permission\u0007 prompt ",
            "statusUpdatedAt":7,"kind":"bg","jobId":"j1","spare":true,
            "pidDomain":"linux:m:pid:[1]"}"#,
    );
    let expected = SessionFile {
        pid: 12,
        session_id: SessionId::checked("s-1"),
        cwd: Some("/w".into()),
        proc_start: Some("345".into()),
        pid_domain: Some("linux:m:pid:[1]".into()),
        started_at_ms: Some(9),
        name: Some("n".into()),
        status: Some(Status::Waiting),
        status_since_ms: Some(7),
        waiting_for: Some("permission  prompt".into()),
        kind: Some(SessionKind::Background),
        job: SessionId::checked("j1"),
        is_spare: true,
    };
    assert_eq!(file, Some(expected));
    let bare = parse_session_file(
        br#"{"pid":12,"sessionId":"../x","status":"dreaming","waitingFor":"dawn","kind":["bg"],
            "jobId":"../j","spare":"yes","pidDomain":7,"statusUpdatedAt":"now"}"#,
    );
    assert_eq!(bare, Some(SessionFile { pid: 12, ..SessionFile::default() }));
    assert_eq!(parse_session_file(b"{}"), None);
    assert_eq!(parse_session_file(b"{\"pid\":12"), None);
}

#[test]
fn each_status_and_what_a_session_waits_for_is_read() {
    let read = |status: &str| {
        let file = format!(r#"{{"pid":1,"status":"{status}","waitingFor":"dialog open"}}"#);
        let file = parse_session_file(file.as_bytes()).unwrap();
        (file.status, file.waiting_for)
    };
    assert_eq!(read("busy"), (Some(Status::Busy), None), "it has what it waited for");
    assert_eq!(read("shell"), (Some(Status::Shell), None));
    assert_eq!(read("waiting"), (Some(Status::Waiting), Some("dialog open".into())));
    let long = format!(r#"{{"pid":1,"status":"waiting","waitingFor":"{}"}}"#, "x".repeat(999));
    let long = parse_session_file(long.as_bytes()).unwrap().waiting_for.unwrap();
    assert_eq!(long.len(), 64);
}

#[test]
fn a_background_job_is_named_by_its_folder() {
    let id = SessionId::checked("j1").unwrap();
    let job = parse_job(&id, br#"{"state":"working","name":"fix\nit","tempo":"idle"}"#);
    let (name, state) = (Some("fix it".into()), Some("working".into()));
    assert_eq!(job, Some(BackgroundJob { id: "j1".into(), name, state }));
    assert_eq!(parse_job(&id, b""), None);
}

#[test]
fn the_clients_document_is_read_field_by_field() {
    let facts = parse_stdin(
        br#"{"session_id":"s","transcript_path":"/t","workspace":{"current_dir":"/w"},
        "model":{"id":"m[1m]","display_name":"M"},"cost":{"total_cost_usd":0.5},
        "context_window":{"context_window_size":1000000,"used_percentage":3,
          "current_usage":{"input_tokens":12,"cache_creation_input_tokens":1500,
          "cache_read_input_tokens":26000,"output_tokens":42}},
        "rate_limits":{"five_hour":{"used_percentage":12.5,"resets_at":1795440000},
          "seven_day":{"used_percentage":-1,"resets_at":1795440000},"spend_limit":"none"}}
        and what follows it"#,
    );
    let five_hour =
        Limit { used_percentage: 12.5, resets_at_ms: 1_795_440_000_000, ..Limit::default() };
    let expected = ClientFacts {
        session_id: Some("s".into()),
        transcript_path: Some("/t".into()),
        cwd: Some("/w".into()),
        session_name: None,
        model: Some(Model { id: "m[1m]".into(), display_name: Some("M".into()) }),
        context_tokens: Some(27512),
        context_window: Some(1_000_000),
        context_used_percentage: Some(3.0),
        cost_usd: Some(0.5),
        limits: Limits { five_hour: Some(five_hour), ..Limits::default() },
        has_rate_limits: true,
        ..ClientFacts::default()
    };
    assert_eq!(facts, Some(expected));
    let nothing_fits = parse_stdin(
        br#"{"session_id":1,"model":[],"context_window":{"current_usage":null},"cost":"",
        "effort":["high"],"thinking":null,"fast_mode":0,"pr":{"number":null},"vim":[],"agent":7,
        "output_style":{"name":null},"version":1,"worktree":"w","exceeds_200k_tokens":"no"}"#,
    );
    assert_eq!(nothing_fits, Some(ClientFacts::default()));
    assert_eq!(parse_stdin(b"[]"), None);
    assert_eq!(parse_stdin(b""), None);
}

/// Reads `rate_limits`. Returns each limit with its share and its end.
fn limits_in(json: &str) -> (bool, Vec<(String, f64, i64)>) {
    let facts = parse_stdin(format!(r#"{{"rate_limits":{json}}}"#).as_bytes()).unwrap();
    let limits = facts.limits.iter();
    let limits = limits.map(|(name, it)| (name.to_owned(), it.used_percentage, it.resets_at_ms));
    (facts.has_rate_limits, limits.collect())
}

#[test]
fn limits_of_any_name_are_read_and_each_wrong_value_loses_itself_only() {
    let end = 1_795_440_000_000;
    let five = |used, end| vec![("five_hour".to_owned(), used, end)];
    for (json, expected) in [
        (r#"{"five_hour":{"used_percentage":61,"resets_at":1795440000}}"#, five(61.0, end)),
        (r#"{"five_hour":{"used_percentage":61,"resets_at":1795440000000}}"#, five(61.0, end)),
        (
            r#"{"five_hour":{"used_percentage":61,"resets_at":"2026-11-23T12:00:00Z"}}"#,
            five(61.0, 1_795_435_200_000),
        ),
        (r#"{"five_hour":{"used_percentage":61,"resets_at":null}}"#, five(61.0, 0)),
        (r#"{"five_hour":{"used_percentage":61,"resets_at":"soon"}}"#, five(61.0, 0)),
        (r#"{"five_hour":{"used_percentage":61,"resets_at":-5}}"#, five(61.0, 0)),
        (r#"{"five_hour":{"used_percentage":100}}"#, five(100.0, 0)),
        (r#"{"five_hour":{"used_percentage":100.5}}"#, vec![]),
        (r#"{"five_hour":{"used_percentage":-0.5}}"#, vec![]),
        (r#"{"five_hour":{"used_percentage":"61"}}"#, vec![]),
        (r#"{"five_hour":{"used_percentage":1e999}}"#, vec![]),
        (r#"{"five_hour":{"resets_at":1795440000}}"#, vec![]),
        (
            r#"{"seven_day_opus":{"used_percentage":12,"resets_at":1795440000}}"#,
            vec![("seven_day_opus".to_owned(), 12.0, end)],
        ),
        (r#"{"a b":{"used_percentage":12},"\u001b":{"used_percentage":1}}"#, vec![]),
        (r#"{"spend_limit":{"used_percentage":130}}"#, vec![("spend_limit".to_owned(), 130.0, 0)]),
        (
            r#"{"spend_limit":{"used_usd":50,"limit_usd":200,"period":"monthly"}}"#,
            vec![("spend_limit".to_owned(), 25.0, 0)],
        ),
        (r#"{"spend_limit":{"used_usd":50,"limit_usd":0}}"#, vec![]),
        (r#"{"spend_limit":{"used_usd":0,"limit_usd":0}}"#, vec![]),
    ] {
        assert_eq!(limits_in(json), (true, expected), "{json}");
    }
    for json in ["null", "{}", "[]", r#"{"five_hour":null}"#, "7"] {
        assert_eq!(limits_in(json), (false, vec![]), "{json}");
    }
}

#[test]
fn implausible_amounts_are_absent() {
    let facts = parse_stdin(
        br#"{"cost":{"total_cost_usd":-5,"total_duration_ms":1e18,"total_lines_added":1e15},
        "context_window":{"context_window_size":0,"used_percentage":1795440000,
          "current_usage":{"input_tokens":1e15}},"prompt_cache":{"hit_ratio":93}}"#,
    );
    let prompt_cache = Some(PromptCache::default());
    assert_eq!(facts.unwrap().clipped(), ClientFacts { prompt_cache, ..ClientFacts::default() });
    for usd in ["1e6", "NaN", "\"5\"", "null"] {
        let document = format!(r#"{{"cost":{{"total_cost_usd":{usd}}}}}"#);
        assert_eq!(parse_stdin(document.as_bytes()).unwrap_or_default().clipped().cost_usd, None);
    }
}

#[test]
fn facts_that_only_the_client_knows_are_read() {
    let facts = parse_stdin(
        br#"{"cost":{"total_duration_ms":50030,"total_api_duration_ms":661,"total_lines_added":7,
          "total_lines_removed":2},"exceeds_200k_tokens":true,"fast_mode":true,
        "effort":{"level":"high"},"thinking":{"enabled":false},"vim":{"mode":"INSERT"},
        "agent":{"name":"reviewer"},"output_style":{"name":"terse"},"version":"2.1.330",
        "workspace":{"git_worktree":"w1"},"worktree":{"name":"w2"},
        "pr":{"number":7,"url":"https://forge/7","review_state":"approved","kind":"pr"},
        "prompt_cache":{"warm":true,"expires_at":1795440000,"hit_ratio":0.93,"misses":2,
          "last_miss_at":"2026-11-23T11:15:04.017Z",
          "last_miss_cause":{"causes":["ttl","tools",3,"model","system"]}}}"#,
    );
    let expected = ClientFacts {
        lines: Some(Lines { added: 7, removed: 2 }),
        duration_ms: Some(50_030),
        api_duration_ms: Some(661),
        exceeds_200k: Some(true),
        fast: Some(true),
        effort: Some("high".into()),
        thinking: Some(false),
        vim_mode: Some("INSERT".into()),
        agent: Some("reviewer".into()),
        output_style: Some("terse".into()),
        client_version: Some("2.1.330".into()),
        pr: Some(PullRequest {
            number: 7,
            url: Some("https://forge/7".into()),
            review_state: Some("approved".into()),
            kind: Some("pr".into()),
        }),
        prompt_cache: Some(PromptCache {
            warm: Some(true),
            expires_at_ms: Some(1_795_440_000_000),
            hit_ratio: Some(0.93),
            misses: Some(2),
            last_miss_at_ms: Some(1_795_432_504_017),
            last_miss_cause: Some("ttl, tools, model".into()),
        }),
        ..ClientFacts::default()
    };
    assert_eq!(facts, Some(expected));
    let moment = |number: &str| {
        let document = format!(r#"{{"prompt_cache":{{"expires_at":{number}}}}}"#);
        parse_stdin(document.as_bytes()).unwrap().prompt_cache.unwrap().expires_at_ms
    };
    assert_eq!(moment("1795440000123"), Some(1_795_440_000_123));
    assert_eq!(moment("1795440000.5"), Some(1_795_440_000_500));
    assert_eq!(moment("null"), None);
    assert_eq!(moment("-1"), None);
}

#[test]
fn subagents_are_read_one_by_one() {
    let (columns, tasks) = parse_subagents(
        br#"{"columns":100,"tasks":[{"id":"a","name":"n","agentType":"x","type":"t","status":"running",
          "description":"d","label":"l","startTime":1795440000000,"model":"m","effort":"low",
          "contextWindowSize":200000,"tokenCount":50000,"tokenSamples":[1,null,2.5,-1],"cwd":"/"},
          {"id":"b","startTime":"2026-11-23T11:15:04Z","effort":{"level":"high"},"tokenCount":"1"},
          {"name":"without an id"},7,null]} and what follows"#,
    );
    assert_eq!(columns, Some(100));
    let first = Task {
        id: "a".into(),
        name: Some("n".into()),
        agent_type: Some("x".into()),
        kind: Some("t".into()),
        status: Some("running".into()),
        description: Some("d".into()),
        label: Some("l".into()),
        started_at_ms: Some(1_795_440_000_000),
        model: Some("m".into()),
        effort: Some("low".into()),
        context_window: Some(200_000),
        tokens: Some(50_000),
        samples: vec![1.0, 2.5],
    };
    let second = Task {
        id: "b".into(),
        started_at_ms: Some(1_795_432_504_000),
        effort: Some("high".into()),
        ..Task::default()
    };
    assert_eq!(tasks, [first, second]);
    for nothing in ["", "[]", "{}", r#"{"columns":-1,"tasks":{}}"#, r#"{"tasks":null}"#] {
        assert_eq!(parse_subagents(nothing.as_bytes()), (None, Vec::new()), "{nothing}");
    }
}

/// In `bytes`, a `|` marks the expected end of the document; without one, it has no end.
#[track_caller]
fn check_end(bytes: &str) {
    let end = bytes.find('|');
    let bytes = bytes.replacen('|', "", 1);
    for step in [1, 2, 1000] {
        let mut scan = DocumentScan::default();
        let mut arrived = (0..=bytes.len()).step_by(step).chain([bytes.len()]);
        assert_eq!(arrived.find_map(|it| scan.end(&bytes.as_bytes()[..it])), end, "{bytes}");
    }
}

#[test]
fn a_document_ends_with_its_last_brace() {
    check_end(r#" {"a":{"b":[1,2]}}|{"c"#);
    check_end(r#"{"a":"}\"}\\"}|"#);
    check_end(r#"{"a":"}\\\"}"#);
    check_end(r#"{"a":{}"#);
    check_end("");
}

#[track_caller]
fn check_kind(path: &str, expected: Option<FileKind>) {
    assert_eq!(classify(Path::new("/r"), Path::new(path)), expected, "{path}");
}

#[test]
fn a_subagents_type_is_read_from_the_file_that_describes_it() {
    let read = |json: &str| agent_type(json.as_bytes());
    assert_eq!(read(r#"{"n":[1],"agentType":"Explore","x":{}}"#).as_deref(), Some("Explore"));
    for none in ["", "{", "7", "{}", r#"{"agentType":7}"#, r#"{"agentType":" "}"#] {
        assert_eq!(read(none), None, "{none}");
    }
    let path = |name: &str| description_of(&Path::new("/p").join(name));
    assert_eq!(path("agent-7.jsonl").as_deref(), Some(Path::new("/p/agent-7.meta.json")));
    assert_eq!(path("s-1.jsonl"), None);
}

#[test]
fn a_path_tells_the_kind_of_its_file() {
    let session = || SessionId("s-1".into());
    check_kind("/r/projects/p/s-1.jsonl", Some(FileKind::Transcript(session())));
    check_kind("/r/projects/p/agent-7.jsonl", Some(FileKind::OldSubagent));
    let nested = "/r/projects/p/s-1/subagents/workflows/w/agent-7.jsonl";
    check_kind(nested, Some(FileKind::Subagent(session())));
    check_kind("/r/projects/p/s-1/subagents/agent-7.jsonl", Some(FileKind::Subagent(session())));
    check_kind("/r/projects/p/s-1/subagents/worker.jsonl", Some(FileKind::Subagent(session())));
    check_kind("/r/projects/p/s-1/agent-7.jsonl", Some(FileKind::Subagent(session())));
    check_kind("/r/projects/p/s-1/old/agent-7.jsonl", Some(FileKind::Subagent(session())));
    check_kind("/r/sessions/12.json", Some(FileKind::Process(12)));
    for path in [
        "s-1.sync-conflict-20261125-101010-ABCDEFG.jsonl",
        "s-1 (Rechner's copy).jsonl",
        "s-1~.jsonl",
        "s-1/tool-results/notes.jsonl",
        "s-1/subagents/agent-7.sync-conflict-1.jsonl",
        "s-1/subagents/a b.jsonl",
        "s-1/s-2.jsonl",
    ] {
        let copy = Some(FileKind::Copy(Some(session())));
        check_kind(&format!("/r/projects/p/{path}"), copy);
    }
    for path in [
        "agent-7.sync-conflict-1.jsonl",
        "märz im jahr.jsonl",
        "a folder/agent-7.jsonl",
        "a folder/subagents/s-1.jsonl",
        ".jsonl",
        ".s-1.jsonl",
    ] {
        check_kind(&format!("/r/projects/p.q é/{path}"), Some(FileKind::Copy(None)));
    }
    for (folder, name) in [(&b"p"[..], &b"s-\xff.jsonl"[..]), (b"\xfe", b"\xe9 b.jsonl")] {
        let [folder, name] = [folder, name].map(OsStr::from_bytes);
        let path = Path::new("/r/projects").join(folder).join(name);
        assert!(matches!(classify(Path::new("/r"), &path), Some(FileKind::Copy(None))), "{path:?}");
    }
    let odd = Path::new("/r/projects").join(OsStr::from_bytes(b"\xff")).join("s-1.jsonl");
    assert_eq!(classify(Path::new("/r"), &odd), Some(FileKind::Transcript(session())));
    for path in [
        "/r/projects/p/s-1/subagents/agent-7.meta.json",
        "/r/projects/p/s-1.jsonl.bak",
        "/r/projects/p/s-1.JSONL",
        "/r/projects/s-1.jsonl",
        "/r/projects/../p/s-1.jsonl",
        "/r/sessions/x.json",
        "/r/settings.json",
        "/r",
        "/elsewhere/projects/p/s-1.jsonl",
    ] {
        check_kind(path, None);
    }
}

proptest! {
    #[test]
    fn no_line_panics(
        cut in 0..REPLY.len(),
        at in 0..REPLY.len(),
        noise in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut line = REPLY.as_bytes().to_vec();
        line.splice(at..at, noise.iter().copied());
        line.truncate(cut);
        Fold::resume(TranscriptFacts::default()).add_line(0, &line);
        parse_stdin(&line);
        parse_session_file(&noise);
    }

    /// A scan reads the same values from a document as a parser that validates everything.
    #[test]
    fn a_scan_finds_what_a_validating_parser_finds(values in prop::collection::vec(any_json(), 0..5), pretty in any::<bool>()) {
        let fields = values.iter().enumerate().map(|(n, it)| format!("\"k{n}\\\"\":{it}"));
        let text = format!("{{{}}}", fields.collect::<Vec<_>>().join(","));
        let parsed: serde_json::Value = serde_json::from_str(&text).expect("is JSON");
        let text = if pretty { format!(" {parsed:#} ") } else { text };
        let mut scanned = serde_json::Map::new();
        let mut scan = Scan::new(text.as_bytes());
        let is_object = scan.object(|scan, key| {
            let value = scan.clone();
            let raw: serde_json::Value = serde_json::from_slice(scan.raw()?).expect("is JSON");
            prop_assert_scalars(&value, &raw);
            scanned.insert(format!("{}\"", str::from_utf8(&key[..key.len() - 2]).expect("is text")), raw);
            Some(())
        });
        prop_assert_eq!(is_object, Some(true));
        prop_assert_eq!(serde_json::Value::Object(scanned), parsed);
        prop_assert!(scan.rest().trim_ascii().is_empty());
        // A document without its last byte is refused.
        let cut = text.trim_end().len() - 1;
        prop_assert_eq!(Scan::new(&text.as_bytes()[..cut]).skip(), None);
    }

    #[test]
    fn no_value_prevents_another_field_from_being_read(value in any_json()) {
        let line = REPLY.replace("\"req_1\"", &value);
        let line = line.replace("[{\"type\":\"text\"", &format!("[{value},{{\"type\":\"text\""));
        let (facts, entries) = fold(&[&line]);
        prop_assert_eq!(facts.skipped_lines, 0);
        prop_assert_eq!(entries.len(), 1);
    }
}

fn prop_assert_scalars(value: &Scan<'_>, parsed: &serde_json::Value) {
    let string = value.clone().string().expect("is JSON");
    assert_eq!(string.as_deref(), parsed.as_str());
    assert_eq!(value.clone().flag().expect("is JSON"), parsed.as_bool());
    // The parser may round the last digit differently.
    let (real, about) = (value.clone().real().expect("is JSON"), parsed.as_f64());
    let is_near = |(a, b): (f64, f64)| (a - b).abs() <= b.abs() * 1e-14;
    assert!(real.is_some() == about.is_some() && real.zip(about).is_none_or(is_near), "{parsed}");
    if let Some(count) = parsed.as_u64() {
        assert_eq!(value.clone().count().expect("is JSON"), Some(count));
    }
}

fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|it| it.to_string()),
        any::<i64>().prop_map(|it| it.to_string()),
        any::<u64>().prop_map(|it| it.to_string()),
        (-1e9..1e9).prop_map(|it: f64| it.to_string()),
        ".*".prop_map(|it| serde_json::to_string(&it).expect("strings can be written")),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|it| format!("[{}]", it.join(","))),
            inner.prop_map(|it| format!("{{\"type\":{it},\"text\":{it},\"x\":{it}}}")),
        ]
    })
}
