-- `vim.g.cl_lsp`, read when it is needed; the server's own settings are not in it.
local defaults = {
  cmd = { 'cl-lsp' },
  enable = true,
  ghost = vim.lsp.inline_completion and 'builtin' or 'extmark',
  hide_beside_menu = false,
}

return setmetatable({}, {
  __index = function(_, name)
    local given = (vim.g.cl_lsp or {})[name]
    if given == nil then
      return defaults[name]
    end
    return given
  end,
})
