# The commands of this repository. `just` lists them; CONTRIBUTING.md says when to use which.

set positional-arguments

_list:
    @just --list --unsorted

# Format, lints, docs, packages and shell scripts: what needs no test
check:
    .ci/run tools format lints docs packages shell_scripts

# The quick tests, or those of them that a filter names: just test -E 'test(ledger)'
test *arguments:
    cargo nextest run "$@"

# All tests, with the long ones
full *arguments:
    cargo nextest run --profile full "$@"
    cargo test --doc

# Everything that CI checks
ci:
    .ci/run

# All tests, properties with a hundred times the cases and faults with all their rounds: for hours
deep *arguments:
    PROPTEST_CASES=25600 CCSTATUSD_FAULTS=full cargo nextest run --profile deep --release "$@"

# A watcher among sessions that come and go, for an hour; less than 0.7 minutes say nothing
soak minutes='60':
    cargo build
    tests/soak --minutes {{ minutes }}

# The real Claude Code in a terminal, with our line on its screen; some scenarios: just client resume
client *arguments:
    cargo build
    tests/client/run "$@"

# A fuzz target, with optimisation and sanitizer: just fuzz snapshot 600
fuzz target='transcript_line' seconds='60':
    .ci/run tools
    PATH="$PWD/target/tools/bin:$PATH" cargo +nightly fuzz run {{ target }} "$(mktemp -d)" \
        fuzz/corpus/{{ target }} -- -max_total_time={{ seconds }} -timeout=5 -rss_limit_mb=1024

# Our cost beside another tool's, a render beside `cat` and other status lines, and 1,500 sessions beside 200
bench:
    benches/run
    benches/show --peers
    benches/scale
    benches/readers

# The archives, the .deb and the packages for npm, in target/packages
packages:
    contrib/package/build.sh

# The pictures in the README
picture:
    contrib/picture/make.sh demo
    contrib/picture/make.sh themes
