-- Ghost text: Neovim's own (0.12), or one of ours with the same functions (0.11).
local options = require('cl_lsp.options')
local M = {}

local function source()
  return require('cl_lsp.ghost.' .. options.ghost)
end

local function beside_menus(buf)
  local group = vim.api.nvim_create_augroup('cl_lsp_menu_' .. buf, {})
  local function on(event, pattern, open)
    local where = pattern and { pattern = pattern } or { buffer = buf }
    vim.api.nvim_create_autocmd(event, vim.tbl_extend('error', where, {
      group = group,
      callback = vim.schedule_wrap(function()
        if vim.api.nvim_get_current_buf() == buf then
          M.menu(open)
        end
      end),
    }))
  end
  on('CompleteChanged', nil, true)
  on('CompleteDone', nil, false)
  on('User', 'BlinkCmpMenuOpen', true)
  on('User', 'BlinkCmpMenuClose', false)
end

function M.attach(buf, client)
  source().attach(buf, client)
  if options.hide_beside_menu then
    beside_menus(buf)
  end
end

--- The text that is shown at the cursor, or nil.
function M.shown()
  return source().shown()
end

--- Accept 'all', a 'line' or a 'word' of it. Returns whether there was something.
function M.accept(what)
  return source().accept(what)
end

function M.dismiss()
  source().dismiss()
end

--- A completion menu has opened or closed.
function M.menu(open)
  source().menu(vim.api.nvim_get_current_buf(), open)
end

return M
