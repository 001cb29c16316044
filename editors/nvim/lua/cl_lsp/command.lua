-- `:ClLsp`: a table of what it can do.
local server = require('cl_lsp.server')
local chat = require('cl_lsp.chat')
local models = require('cl_lsp.model')
local states = require('cl_lsp.status')
local view = require('cl_lsp.view')
local say = server.say
local M = {}

local function status()
  local client = server.running()
  if client then
    local now = states.of(client)
    local root = client.root_dir and vim.fn.fnamemodify(client.root_dir, ':~') or 'no folder'
    local took = now.last_ms and ('last answer %d ms'):format(now.last_ms)
    local version = client.server_info.version
    say(states.join(', ', version, now.model, root, now.message or now.state, took, now.reason))
  end
end

local LOGS = {
  engine = function()
    local state = vim.env.XDG_STATE_HOME or vim.fs.normalize('~/.local/state')
    return vim.fs.joinpath(state, 'cl-lsp/engine.log')
  end,
  server = function()
    return vim.lsp.log.get_filename and vim.lsp.log.get_filename() or vim.lsp.get_log_path()
  end,
}

--- Neovim drops what a server only logs, unless it is told not to.
local function log_hint()
  if vim.lsp.log.get_level() > vim.log.levels.INFO then
    say("why there was no suggestion is logged after :lua vim.lsp.log.set_level('info'); :ClLsp trace has it anyway")
  end
end

local function log(arguments)
  local which = arguments[1] or 'server'
  local path = LOGS[which] and LOGS[which]()
  if not path then
    say('there are two logs, engine and server', vim.log.levels.ERROR)
  elseif not vim.uv.fs_stat(path) then
    say('nothing was logged yet in ' .. path)
  else
    vim.cmd('tabedit +$ ' .. vim.fn.fnameescape(path))
    vim.bo.readonly, vim.bo.modifiable = true, false
  end
  if which == 'server' then
    log_hint()
  end
end

--- Why there was a suggestion, or none. `text`: with what was sent, and what came.
local function trace(arguments)
  server.request('cl-lsp/trace', { text = arguments[1] == 'text' }, function(result)
    view.show('trace', result.markdown)
  end)
end

local function model(arguments)
  local role = vim.list_contains(models.roles(), arguments[1]) and table.remove(arguments, 1)
  models.set(role or 'completion', arguments[1])
end

local function model_names(arguments)
  local client = server.client(0)
  local role = arguments[1]
  if client and vim.list_contains(models.roles(), role) then
    return models.names(client, role)
  end
  return vim.list_extend(models.roles(), client and models.names(client, 'completion') or {})
end

local FILLS = { 'body', 'candidates', 'here', 'selection' }

local function fill(arguments, command)
  chat.fill(arguments[1] or (command.range > 0 and 'selection' or 'here'), command)
end

local COMMANDS = {
  chat = { run = function(words, command) chat.ask('ask', words, command) end },
  fill = { run = fill, complete = function() return FILLS end },
  status = { run = status },
  pause = { run = function() server.execute('pause') end },
  resume = { run = function() server.execute('resume') end },
  restart = { run = server.restart },
  trace = { run = trace, complete = function() return { 'text' } end },
  model = { run = model, complete = model_names },
  log = { run = log, complete = function() return vim.tbl_keys(LOGS) end },
}

for _, action in ipairs({ 'document', 'edit', 'explain', 'fix', 'optimise', 'tests', 'types' }) do
  COMMANDS[action] = { run = function(words, command) chat.ask(action, words, command) end }
end

local function names()
  return vim.fn.sort(vim.tbl_keys(COMMANDS))
end

function M.run(command)
  local arguments = vim.deepcopy(command.fargs)
  local name = table.remove(arguments, 1) or 'status'
  local entry = COMMANDS[name]
  if entry then
    entry.run(arguments, command)
  else
    say(('there is no :ClLsp %s; there are %s'):format(name, table.concat(names(), ', ')), vim.log.levels.ERROR)
  end
end

function M.complete(lead, line)
  local given = vim.split(line:match('ClLsp!?%s+(.*)$') or '', '%s+')
  table.remove(given) -- the one that is being typed
  local name = table.remove(given, 1)
  local entry = name and COMMANDS[name]
  local choices = not name and names() or (entry and entry.complete and entry.complete(given)) or {}
  table.sort(choices)
  return vim.tbl_filter(function(choice)
    return vim.startswith(choice, lead)
  end, choices)
end

return M
