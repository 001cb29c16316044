-- What `vim.lsp.enable('cl_lsp')` starts; `vim.lsp.config('cl_lsp', {...})` adds to it.
local server = require('cl_lsp.server')

return {
  cmd = server.start, -- the program itself is `vim.g.cl_lsp.cmd`
  filetypes = { -- of Markdown only chats
    'bash', 'c', 'cpp', 'cs', 'css', 'cuda', 'go', 'haskell', 'html', 'java', 'javascript',
    'javascriptreact', 'julia', 'kotlin', 'lua', 'make', 'markdown', 'perl', 'php', 'python', 'r', 'ruby',
    'rust', 'scala', 'sh', 'sql', 'swift', 'typescript', 'typescriptreact', 'zsh',
  },
  root_dir = server.root,
  capabilities = {
    -- Neovim 0.11 does not name it; without it the server would fill the popup menu instead.
    textDocument = { inlineCompletion = { dynamicRegistration = false } },
    experimental = { clLsp = { status = true } }, -- to be told what it is doing
  },
  handlers = {
    ['cl-lsp/status'] = require('cl_lsp.status').received,
    ['window/showDocument'] = require('cl_lsp.chat').show,
  },
  on_init = server.initialized,
}
