-- Ghost text by Neovim 0.12: `vim.lsp.inline_completion` asks and shows; it accepts only as a whole,
-- and, once something was typed since, wrongly. So what is inserted is decided here.
local suggestion = require('cl_lsp.suggestion')
local M = {}

function M.detach() end -- Neovim hides what it shows

local function happens(event, buf)
  local group = 'nvim.lsp.inline_completion:' .. buf
  pcall(vim.api.nvim_exec_autocmds, event, { group = group, buffer = buf })
end

--- Neovim does this when it has no more keys to read; until then what is shown is out of date.
function M.refresh(buf)
  happens('CursorMovedI', buf)
end

--- The user has left insert mode, or the buffer.
function M.left(buf)
  happens('InsertLeave', buf)
end

function M.attach(buf)
  vim.lsp.inline_completion.enable(true, { bufnr = buf })
end

--- The shown text, and whether it replaces something.
function M.shown()
  local space = vim.api.nvim_get_namespaces()['nvim.lsp.inline_completion']
  local row, col = unpack(vim.api.nvim_win_get_cursor(0))
  local at = { row - 1, col }
  local mark = space and vim.api.nvim_buf_get_extmarks(0, space, at, at, { details = true })[1]
  if not mark then
    return
  end
  local lines = {}
  for _, line in ipairs({ mark[4].virt_text or {}, unpack(mark[4].virt_lines or {}) }) do
    local text = ''
    for _, chunk in ipairs(line) do
      text = text .. (chunk[2] == 'ComplHintMore' and '' or chunk[1]) -- "(1/2)", of several
    end
    table.insert(lines, text)
  end
  local text = table.concat(lines, '\n')
  if text ~= '' then
    return text, mark[4].virt_text_pos == 'overlay'
  end
end

--- Returns whether something was shown.
function M.accept(what)
  M.refresh(vim.api.nvim_get_current_buf())
  local text, replaces = M.shown()
  if not text then
    return false
  end
  local part = suggestion.part(text, what)
  local closes = replaces and part:find('[%)%]}>"\'`;,:]')
  if part ~= text and not closes and not part:find('\n') then
    -- What is left goes on being shown: Neovim takes this for typing.
    local row, col = unpack(vim.api.nvim_win_get_cursor(0))
    suggestion.change(function()
      suggestion.take({ text = part, row = row - 1, col = col, over = 0 }, 'all')
    end)
    return true
  end
  vim.lsp.inline_completion.get({
    on_accept = function(item)
      local client = vim.lsp.get_client_by_id(item.client_id)
      if not client or client.name ~= 'cl_lsp' or not item.range then
        return item -- another server's
      end
      local row, col, _, end_col = item.range:to_extmark()
      local at = { text = item.insert_text, row = row, col = col, over = end_col - col }
      if suggestion.take(at, what) == nil and item.command then
        client:exec_cmd(item.command)
      end
    end,
  })
  return true
end

function M.dismiss()
  vim.lsp.inline_completion.get({ on_accept = function() end })
end

function M.menu(buf, open)
  if open == vim.lsp.inline_completion.is_enabled({ bufnr = buf }) then
    vim.lsp.inline_completion.enable(not open, { bufnr = buf })
    if not open then
      M.refresh(buf)
    end
  end
end

return M
