-- Chats: documents that the server writes (docs/chat.md), and the keys in them.
local server = require('cl_lsp.server')
local M = {}

local FOLDER = '/cl%-lsp/chats/[^/]+%.md$'

function M.is_chat(buf)
  return vim.api.nvim_buf_get_name(buf):match(FOLDER) ~= nil
end

--- The result of a command: a chat is on the disk as it is on the screen.
local function done(result)
  local document = type(result) == 'table' and type(result.document) == 'string' and result.document
  local buf = document and vim.fn.bufnr(vim.uri_to_fname(document)) or -1
  if buf ~= -1 and vim.bo[buf].modified then
    vim.api.nvim_buf_call(buf, function()
      vim.cmd('silent! noautocmd write!') -- the server may have written it, too
    end)
  end
end

local function problems(command)
  return vim.iter(vim.diagnostic.get(0)):filter(function(problem)
    return problem.lnum + 1 >= command.line1 and problem.lnum < command.line2
  end):map(function(problem)
    return ('line %d: %s'):format(problem.lnum + 1, problem.message)
  end):totable()
end

--- The lines of a command's range or, without one, the cursor: the server finds what is around it.
local function range(command)
  if command.range == 0 then
    local client = server.client(0)
    local encoding = client and client.offset_encoding or 'utf-16'
    local here = vim.lsp.util.make_position_params(0, encoding).position
    return { start = here, ['end'] = here }
  end
  return {
    start = { line = command.line1 - 1, character = 0 },
    ['end'] = { line = command.line2, character = 0 },
  }
end

--- For `:ClLsp`. An edit needs to be told what to do; a chat may be told in its document.
function M.ask(action, words, command)
  local asked = { action = action, uri = vim.uri_from_bufnr(0), range = range(command) }
  asked.diagnostics = action == 'fix' and problems(command) or nil
  local function send(instruction)
    asked.instruction = instruction ~= '' and instruction or nil
    if asked.instruction or action ~= 'edit' then
      server.execute('chat', asked, done)
    end
  end
  if action == 'edit' and #words == 0 then
    vim.ui.input({ prompt = 'cl-lsp: what is to be done? ' }, send)
  else
    send(table.concat(words, ' '))
  end
end

function M.fill(how, command)
  local asked = { action = how, uri = vim.uri_from_bufnr(0), range = range(command) }
  server.execute('fill', asked, done)
end

--- The code block at the cursor goes to where the question came from.
local function insert(verb)
  vim.lsp.buf.code_action({
    apply = true,
    filter = function(action)
      return vim.startswith(action.title, 'cl-lsp: ' .. verb)
    end,
  })
end

--- For `window/showDocument`: a chat does not take the place of the code.
function M.show(err, params, context)
  local path = params.uri:match('^file:') and vim.uri_to_fname(params.uri) or ''
  if path:match(FOLDER) and vim.fn.bufwinid(path) == -1 then
    vim.cmd(vim.o.columns >= 120 and 'rightbelow vsplit' or 'rightbelow split')
  end
  return vim.lsp.handlers['window/showDocument'](err, params, context)
end

local KEYS = {
  { '<CR>', 'send', function() server.execute('chat.send', { uri = vim.uri_from_bufnr(0) }, done) end },
  { '<C-c>', 'stop', function() server.execute('chat.stop', { uri = vim.uri_from_bufnr(0) }) end },
  { 'gR', 'replace the origin', function() insert('Replace') end },
  { 'gI', 'insert there', function() insert('Insert') end },
}

--- What a chat's window has, and no other.
function M.attach(buf)
  local words = {}
  for _, key in ipairs(KEYS) do
    vim.keymap.set('n', key[1], key[3], { buffer = buf, desc = 'cl-lsp: ' .. key[2] })
    table.insert(words, ('%s %s'):format(key[1], key[2]))
  end
  vim.b[buf].cl_lsp_keys = table.concat(words, ' · ')
  vim.api.nvim_buf_call(buf, function()
    vim.cmd([[setlocal winbar=%{get(b:,'cl_lsp_keys','')} wrap linebreak]])
  end)
end

return M
