-- What a server must know of a buffer, and Neovim (0.11, 0.12) does not always tell it.
local M = {}
local watched, deaf = {}, {} -- by buffer

local function open_again(buf)
  local clients = vim.lsp.get_clients({ bufnr = buf })
  for _, act in ipairs({ vim.lsp.buf_detach_client, vim.lsp.buf_attach_client }) do
    for _, client in ipairs(clients) do
      act(buf, client.id)
    end
  end
end

-- A buffer that changes while no server has it, as between a crash and the next start, is one that
-- Neovim never listens to again: the new server would go on with the text that it was opened with.
local function listen(buf)
  local versions = vim.lsp.util.buf_versions
  local found, tracking = pcall(require, 'vim.lsp._changetracking')
  if watched[buf] or not (versions and found) then
    return
  end
  watched[buf] = true
  vim.api.nvim_buf_attach(buf, false, {
    on_lines = function(_, _, tick, first, last, new_last)
      if versions[buf] ~= tick then -- which Neovim's own listener, called before this one, has set
        deaf[buf], versions[buf] = true, tick
        tracking.send_changes(buf, first, last, new_last)
      end
    end,
    on_reload = vim.schedule_wrap(function()
      if deaf[buf] and vim.api.nvim_buf_is_loaded(buf) then
        open_again(buf)
      end
    end),
    on_detach = function()
      watched[buf] = nil
      vim.schedule(function() -- a buffer that stays was read anew, and Neovim's own listener is gone, too
        if vim.api.nvim_buf_is_loaded(buf) and #vim.lsp.get_clients({ bufnr = buf }) > 0 then
          listen(buf)
          open_again(buf)
        end
      end)
    end,
  })
end

--- Tell the servers of a buffer of each change and, at once, of a new name.
function M.tell(buf)
  listen(buf)
  vim.api.nvim_create_autocmd('BufFilePost', {
    group = vim.api.nvim_create_augroup('cl_lsp_name_' .. buf, {}),
    buffer = buf,
    callback = function()
      -- Neovim tells it when the buffer is written, and suggestions end until then.
      local group = ('nvim.lsp.b_%d_save'):format(buf)
      pcall(vim.api.nvim_exec_autocmds, 'BufWritePost', { group = group, buffer = buf, modeline = false })
    end,
  })
end

return M
