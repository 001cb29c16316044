-- What the server says it is doing (`cl-lsp/status`), for the statusline.
local M = {}

local states = {} -- by client: the last notification

--- What there is of some words.
function M.join(between, ...)
  local there = {}
  for i = 1, select('#', ...) do
    table.insert(there, (select(i, ...)) or nil)
  end
  return table.concat(there, between)
end

function M.received(_, params, context)
  states[context.client_id] = vim.iter(params):fold({}, function(kept, name, value)
    kept[name] = value ~= vim.NIL and value or nil
    return kept
  end)
  vim.api.nvim_exec_autocmds('User', { pattern = 'ClLspStatus', data = params, modeline = false })
  vim.cmd.redrawstatus({ bang = true })
end

--- What a client's server last said: {state, message, model, last_ms, reason}.
function M.of(client)
  return states[client.id] or { state = 'idle' }
end

--- `cl-lsp embedded 84 ms`, `cl-lsp …` while it thinks, `cl-lsp off`; empty without a server.
function M.line()
  local client = require('cl_lsp.server').client(0)
  if not client then
    return ''
  end
  local now = M.of(client)
  local model = now.model and vim.fs.basename(now.model)
  local took = now.state == 'idle' and now.last_ms and ('%d ms'):format(now.last_ms)
  local words = { idle = took, thinking = '…' }
  return (M.join(' ', 'cl-lsp', model, words[now.state] or (now.state ~= 'idle' and now.state)):gsub('%%', '%%%%'))
end

return M
