-- Keys that accept, and mean what they meant before if there is nothing to accept.
local M = {}
local DESC = 'cl-lsp: accept'
local before = {} -- by key: a name under which its old mapping goes on to exist, or the key itself

local function feed(keys, mode)
  vim.api.nvim_feedkeys(vim.keycode(keys), mode, false) -- ahead of what else was typed
end

local function accept(what)
  return require('cl_lsp.ghost').accept(what)
end

--- The mapping of a key in all buffers; what one buffer has goes before ours and stays there.
local function mapping(key)
  local raw = vim.keycode(key)
  return vim.iter(vim.api.nvim_get_keymap('i')):find(function(found)
    return found.lhsraw == raw or found.lhsrawalt == raw
  end)
end

function M.map(key, what)
  local old = mapping(key)
  if not old then
    before[key] = nil
  elseif old.desc ~= DESC then
    local name = ('<Plug>(cl-lsp-before-%s)'):format(key:gsub('[<>]', ''))
    before[key], old.lhs = name, name
    old.lhsraw = vim.keycode(name)
    old.lhsrawalt = nil
    vim.fn.mapset('i', false, old)
  end
  vim.keymap.set('i', key, function()
    if accept(what) then
      return
    end
    feed(before[key] or key, before[key] and 'im' or 'in')
  end, { desc = DESC })
end

--- For `plug`, an insert mode mapping: if nothing is shown, the key that a user has mapped to it.
function M.plug(plug, what)
  vim.keymap.set('i', plug, function()
    if accept(what) then
      return
    end
    for _, keymap in ipairs({ vim.api.nvim_buf_get_keymap(0, 'i'), vim.api.nvim_get_keymap('i') }) do
      for _, mapping in ipairs(keymap) do
        if mapping.rhs == plug then
          return feed(mapping.lhs, 'in')
        end
      end
    end
  end, { desc = DESC .. ' ' .. what })
end

return M
