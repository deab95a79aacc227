# bash: the line of the session that was active last, above each prompt. It is printed and no part
# of PS1, which bash would expand.
# In ~/.bashrc: source /path/to/contrib/line/ccstatusd.bash
_ccstatusd_line() { ccstatusd line --format ansi --columns "${COLUMNS:-80}"; }
PROMPT_COMMAND="_ccstatusd_line${PROMPT_COMMAND:+; $PROMPT_COMMAND}"
