-- Neovim: reads the line that the watcher publishes, whenever the kernel reports a new one. It
-- starts no process and has no timer. In init.lua: dofile("/path/to/contrib/line/ccstatusd.lua")
local uv = vim.uv or vim.loop
local state = vim.env.XDG_STATE_HOME or (vim.env.HOME .. "/.local/state")
local dir = (vim.env.CCSTATUSD_DIR or (state .. "/ccstatusd")) .. "/plain"

local function read()
  local file = io.open(dir .. "/latest")
  -- The value of %{…} is shown as it is, so nothing in it needs an escape.
  vim.g.ccstatusd_line = file and file:read("a"):gsub("\n", " · ") or ""
  if file then
    file:close()
  end
  vim.cmd("redrawstatus!")
end

-- A global: the handle must live as long as the editor.
ccstatusd_event = uv.new_fs_event()
ccstatusd_event:start(dir, {}, vim.schedule_wrap(read))
read()
vim.o.laststatus = 2
vim.o.statusline = "%f %m%=%{get(g:, 'ccstatusd_line', '')} %l:%c"
