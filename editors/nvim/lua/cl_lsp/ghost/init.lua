-- Ghost text: Neovim's own (0.12), or one of ours with the same functions (0.11).
local options = require('cl_lsp.options')
local M = {}

local function source()
  return require('cl_lsp.ghost.' .. options.ghost)
end

local function beside_menus(buf)
  local group = vim.api.nvim_create_augroup('cl_lsp_menu_' .. buf, {})
  local function on(events, where, open)
    vim.api.nvim_create_autocmd(events, vim.tbl_extend('error', where, {
      group = group,
      callback = vim.schedule_wrap(function(event)
        if vim.api.nvim_get_current_buf() == buf then
          M.menu(open(event))
        end
      end),
    }))
  end
  -- One that is filled anew at each key closes and opens, and not each opening has an event of its own:
  -- what counts is what has become of it.
  on({ 'CompleteChanged', 'CompleteDone', 'TextChangedP' }, { buffer = buf }, function()
    return vim.fn.pumvisible() == 1
  end)
  on('User', { pattern = { 'BlinkCmpMenuOpen', 'BlinkCmpMenuClose' } }, function(event)
    return event.match == 'BlinkCmpMenuOpen'
  end)
end

-- CTRL-C leaves insert mode without InsertLeave, a window is left without leaving insert mode.
for event, pattern in pairs({ ModeChanged = 'i*:n', BufLeave = '*' }) do
  vim.api.nvim_create_autocmd(event, {
    group = vim.api.nvim_create_augroup('cl_lsp_left_' .. event, {}),
    pattern = pattern,
    callback = function(left)
      source().left(left.buf)
    end,
  })
end

function M.attach(buf, client)
  source().attach(buf, client)
  -- Who was here before the server has no need of another key. Neovim is ready one round after this event.
  vim.schedule(vim.schedule_wrap(function()
    local typing = vim.startswith(vim.api.nvim_get_mode().mode, 'i')
    if typing and vim.api.nvim_get_current_buf() == buf and vim.lsp.buf_is_attached(buf, client.id) then
      source().refresh(buf)
    end
  end))
  if options.hide_beside_menu then
    beside_menus(buf)
  end
end

function M.detach(buf, client_id)
  source().detach(buf, client_id)
end

--- The text that is shown at the cursor, or nil.
function M.shown()
  return source().shown()
end

--- Accept 'all', a 'line' or a 'word' of it. Returns whether there was something.
function M.accept(what)
  return vim.bo.modifiable and source().accept(what)
end

function M.dismiss()
  source().dismiss()
end

--- A completion menu has opened or closed.
function M.menu(open)
  source().menu(vim.api.nvim_get_current_buf(), open)
end

return M
