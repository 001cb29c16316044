if vim.g.loaded_cl_lsp then
  return
end
vim.g.loaded_cl_lsp = true

if vim.fn.has('nvim-0.11') == 0 then
  vim.notify('cl-lsp needs Neovim 0.11 or newer', vim.log.levels.ERROR)
  return
end

vim.api.nvim_create_user_command('ClLsp', function(command)
  require('cl_lsp.command').run(command)
end, {
  nargs = '*',
  range = true,
  desc = 'cl-lsp: see :help :ClLsp',
  complete = function(lead, line)
    return require('cl_lsp.command').complete(lead, line)
  end,
})

for _, what in ipairs({ 'all', 'line', 'word' }) do
  require('cl_lsp.keys').plug(('<Plug>(cl-lsp-accept-%s)'):format(what), what)
end
vim.keymap.set('i', '<Plug>(cl-lsp-dismiss)', function()
  require('cl_lsp').dismiss()
end, { desc = 'cl-lsp: hide the suggestion' })

local group = vim.api.nvim_create_augroup('cl_lsp', {})
vim.api.nvim_create_autocmd('LspAttach', {
  group = group,
  callback = function(event)
    local client = vim.lsp.get_client_by_id(event.data.client_id)
    if client and client.name == 'cl_lsp' then
      require('cl_lsp.changes').tell(event.buf)
      local chat = require('cl_lsp.chat')
      if chat.is_chat(event.buf) then
        chat.attach(event.buf)
      else
        require('cl_lsp.ghost').attach(event.buf, client)
      end
    end
  end,
})

vim.api.nvim_create_autocmd('LspDetach', {
  group = group,
  callback = function(event)
    require('cl_lsp.ghost').detach(event.buf, event.data.client_id)
  end,
})

if (vim.g.cl_lsp or {}).enable ~= false then
  vim.lsp.enable('cl_lsp')
end
