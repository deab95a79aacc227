# zsh: the line of the session that was active last, as the right prompt.
# In ~/.zshrc: source /path/to/contrib/line/ccstatusd.zsh
_ccstatusd_line() { RPROMPT=$(ccstatusd line --format zsh --columns $((COLUMNS / 2))) }
autoload -Uz add-zsh-hook
add-zsh-hook precmd _ccstatusd_line
