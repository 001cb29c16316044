-- A read-only window below the others.
local M = {}

--- Show Markdown.
function M.show(name, text)
  local buf = vim.fn.bufadd('cl-lsp://' .. name)
  vim.fn.bufload(buf)
  vim.bo[buf].buftype, vim.bo[buf].bufhidden = 'nofile', 'wipe'
  vim.bo[buf].modifiable = true
  vim.api.nvim_buf_set_lines(buf, 0, -1, false, vim.split(text, '\n'))
  vim.bo[buf].modifiable = false
  vim.bo[buf].filetype = 'markdown'
  if vim.fn.bufwinid(buf) == -1 then
    vim.cmd('botright sbuffer ' .. buf)
  end
  vim.keymap.set('n', 'q', '<Cmd>close<CR>', { buffer = buf, desc = 'close' })
end

return M
