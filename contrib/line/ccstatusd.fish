# fish: the line of the session that was active last, as the right prompt.
# Put this file into ~/.config/fish/conf.d
function fish_right_prompt
    ccstatusd line --format fish --columns (math --scale 0 $COLUMNS / 2)
end
