-- `:ClLsp model`: which model completes, and which one chats.
local server = require('cl_lsp.server')
local M = {}

-- By role: the section of the setting `model`, and what a model must be able to do.
local ROLES = {
  completion = { section = 'engine', needed = 'infilling' },
  chat = { section = 'chat', needed = 'chat' },
}

function M.roles()
  return vim.tbl_keys(ROLES)
end

local function details(card, role)
  local can = card.capabilities and table.concat(card.capabilities, ', ')
  local size = card.weight_bytes and ('%.1f GiB'):format(card.weight_bytes / 2 ^ 30)
  local refused = card.refused and card.refused[ROLES[role].needed]
  return require('cl_lsp.status').join(' · ', card.id, card.status, can, size, refused)
end

--- Until Neovim ends; for longer, it belongs into cl-lsp.toml or `vim.lsp.config`.
local function choose(role, id)
  local client = server.running()
  if client then
    local chosen = { ['cl-lsp'] = { [ROLES[role].section] = { model = id } } }
    client.settings = vim.tbl_deep_extend('force', client.settings or {}, chosen)
    client:notify('workspace/didChangeConfiguration', { settings = client.settings })
  end
end

--- Whether it can be a model of an engine, which lists all but directories.
local function possible(found, id)
  local first = found.models[1]
  return not (first and first.refused) -- none is known, or it is no engine of ours
    or vim.fn.isdirectory(vim.fn.expand(id)) == 1
    or vim.iter(found.models):any(function(card)
      return card.id == id
    end)
end

--- The model `id` for a role or, without one, the user's choice.
function M.set(role, id)
  server.request('cl-lsp/models', vim.empty_dict(), function(result)
    local found = result[role]
    if id then
      if possible(found, id) then
        return choose(role, id)
      end
      local names = vim.iter(found.models):map(function(card) return card.id end):join(', ')
      return server.say(('there is no model %s here; there are %s'):format(id, names), vim.log.levels.ERROR)
    end
    if found.problem ~= vim.NIL then
      return server.say(found.problem, vim.log.levels.ERROR)
    end
    local words = role == 'chat' and 'chats' or 'completes'
    vim.ui.select(found.models, {
      prompt = ('The model that %s (now %s)'):format(words, found.current),
      format_item = function(card)
        return details(card, role)
      end,
    }, function(card)
      if card then
        choose(role, card.id)
      end
    end)
  end)
end

--- For command line completion.
function M.names(client, role)
  local answer = client:request_sync('cl-lsp/models', vim.empty_dict(), 1000)
  local models = answer and answer.result and answer.result[role].models or {}
  return vim.iter(models):map(function(card)
    return card.id
  end):totable()
end

return M
