-- The README's set-up for Neovim, word for word.
vim.lsp.config('cl_lsp', { cmd = { 'cl-lsp' }, filetypes = { 'python', 'javascript', 'typescript', 'c', 'cpp', 'sh' } })
vim.lsp.enable('cl_lsp'); vim.lsp.inline_completion.enable()
vim.keymap.set('i', '<Tab>', function() return vim.lsp.inline_completion.get() and '' or '<Tab>' end, { expr = true })
