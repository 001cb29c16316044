-- The language server: found, started, looked after. What is wrong is said once, with what helps.
local options = require('cl_lsp.options')
local M = {}

M.OLDEST = '0.1.0'
-- From a file: no package index has it, and the name there is anybody's.
M.INSTALL = "install the release's wheel: pipx install --force './cl_lsp-0.1.0-py3-none-any.whl[engine]'"
local CRASHES, WITHIN_S = 5, 180
local crashes = {} -- when
local refused -- why it is not started
local told = {}

function M.say(message, level)
  vim.notify('cl-lsp: ' .. message, level or vim.log.levels.INFO)
end

--- A message, unless it was shown since the last restart.
function M.tell(message)
  if not told[message] then
    told[message] = true
    vim.schedule(function()
      M.say(message, vim.log.levels.ERROR)
    end)
  end
end

local function refuse(reason, ...)
  refused = reason:format(...)
  M.tell(refused)
end

--- Why no server runs, if it is known.
function M.refusal()
  return refused
end

--- The client of a buffer or, if it has none, of another.
function M.client(buf)
  local here = vim.lsp.get_clients({ name = 'cl_lsp', bufnr = buf })
  return here[1] or vim.lsp.get_clients({ name = 'cl_lsp' })[1]
end

--- The same, or nil, and the user is told.
function M.running()
  local client = M.client(0)
  if not client then
    M.say(refused or 'no server runs: open a file of a language that it knows', vim.log.levels.WARN)
  end
  return client
end

--- Ask the server; what goes wrong is shown.
function M.request(method, params, done)
  local client = M.running()
  return client and client:request(method, params, function(err, result)
    if err then
      M.say(err.message, vim.log.levels.ERROR)
    elseif done then
      done(result)
    end
  end)
end

--- Run a command of the server's.
function M.execute(name, argument, done)
  M.request('workspace/executeCommand', { command = 'cl-lsp.' .. name, arguments = { argument } }, done)
end

--- For `root_dir`: nothing is started where it could not work.
function M.root(buf, start)
  local program = options.cmd[1]
  if vim.bo[buf].filetype == 'markdown' then
    local client = require('cl_lsp.chat').is_chat(buf) and M.client()
    return client and start(client.root_dir)
  elseif vim.api.nvim_buf_get_name(buf):match('^%a[%w+.-]+://') then
    return -- a view of a plugin, no file
  elseif refused then
    return
  elseif vim.fn.executable(program) == 0 then
    M.tell(("there is no program %s: %s, or name one in vim.g.cl_lsp = { cmd = { '/path/to/cl-lsp' } }; "
      .. 'then :ClLsp restart. :checkhealth cl_lsp says more'):format(program, M.INSTALL))
    return
  end
  start(vim.fs.root(buf, { 'cl-lsp.toml', '.git' }))
end

local function ended(code, signal)
  if (code == 0 and signal == 0) or signal == 15 or vim.v.exiting ~= vim.NIL then
    return
  end
  local now = vim.uv.now() / 1000
  crashes = vim.tbl_filter(function(when)
    return now - when < WITHIN_S
  end, crashes)
  table.insert(crashes, now)
  if #crashes < CRASHES then
    vim.defer_fn(function()
      vim.lsp.enable('cl_lsp') -- in all buffers that it was in
    end, 500 * #crashes)
  else
    refuse('the server ended %d times within %d minutes and is left alone: :ClLsp log shows why, '
      .. ':ClLsp restart tries again', CRASHES, WITHIN_S / 60)
  end
end

-- Neovim shows the carriage returns of a file that has them, and inserts them.
local function without_returns(result)
  for _, item in ipairs(result and (result.items or result) or {}) do
    item.insertText = item.insertText:gsub('\r\n', '\n')
  end
  return result
end

--- For `cmd`. Neovim hears of a crash as of an end, and so shows no message for each.
function M.start(dispatchers, config)
  local function on_exit(code, signal)
    vim.schedule(function()
      ended(code, signal)
    end)
    dispatchers.on_exit(0, 0)
  end
  local watched = vim.tbl_extend('force', dispatchers, { on_exit = on_exit })
  local rpc = vim.lsp.rpc.start(options.cmd, watched, {
    cwd = config and (config.cmd_cwd or config.root_dir),
    env = config and config.cmd_env,
  })
  local request = rpc.request
  rpc.request = function(method, params, done, ...)
    local inline = method == 'textDocument/inlineCompletion'
    return request(method, params, inline and function(err, result)
      done(err, without_returns(result))
    end or done, ...)
  end
  return rpc
end

--- For `on_init`.
function M.initialized(client)
  local info = client.server_info or {}
  if info.name ~= 'cl-lsp' or vim.version.lt(info.version or '0', M.OLDEST) then
    client:stop()
    local found = ('%s %s'):format(info.name or 'a nameless server', info.version or '')
    refuse('%s is %s, and this plugin needs cl-lsp %s or newer: %s; then :ClLsp restart',
      options.cmd[1], vim.trim(found), M.OLDEST, M.INSTALL)
  end
end

--- Stop it, and start it anew in all buffers, whatever was wrong before.
function M.restart()
  crashes, refused, told = {}, nil, {}
  local old = vim.lsp.get_clients({ name = 'cl_lsp' })
  vim.lsp.enable('cl_lsp', false)
  for _, client in ipairs(old) do
    if not vim.wait(3000, function() return client:is_stopped() end, 20) then
      client:stop(true)
    end
  end
  vim.lsp.enable('cl_lsp')
end

return M
