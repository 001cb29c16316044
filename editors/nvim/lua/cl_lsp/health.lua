-- `:checkhealth cl_lsp`
local M = {}

local INSTALL = "install it: pipx install 'cl-lsp[engine]'; or name it: vim.g.cl_lsp = { cmd = { '/path/to/cl-lsp' } }"

local function program()
  local options, server = require('cl_lsp.options'), require('cl_lsp.server')
  local path = vim.fn.exepath(options.cmd[1])
  if path == '' then
    vim.health.error(('there is no program %s'):format(options.cmd[1]), INSTALL)
    return
  end
  local done = vim.system({ options.cmd[1], '--version' }, { text = true }):wait(10000)
  local version = vim.trim(done.stdout or '')
  if done.code ~= 0 or not version:match('^%d') then
    vim.health.error(('%s does not run: %s'):format(path, vim.trim(done.stderr or '')), INSTALL)
  elseif vim.version.lt(version, server.OLDEST) then
    local advice = 'update it: pipx upgrade cl-lsp'
    vim.health.error(('%s is %s; this plugin needs %s'):format(path, version, server.OLDEST), advice)
  else
    vim.health.ok(('%s is %s'):format(path, version))
    return path
  end
end

local function engine(path)
  local done = vim.system({ path, 'status' }, { text = true }):wait(10000)
  local first = vim.split(vim.trim((done.stdout or '') .. (done.stderr or '')), '\n')[1]
  vim.health.info('the engine: ' .. first .. (first == 'not running' and ' (it starts with the first file)' or ''))
end

local function clients()
  local refusal = require('cl_lsp.server').refusal()
  local running = vim.lsp.get_clients({ name = 'cl_lsp' })
  if refusal then
    vim.health.error(refusal, ':ClLsp restart, when that is mended')
  elseif not vim.lsp.is_enabled or vim.lsp.is_enabled('cl_lsp') then
    vim.health.ok('enabled: ' .. (#running == 0 and 'it starts with the first file' or #running .. ' running'))
  else
    vim.health.warn('not enabled', "vim.lsp.enable('cl_lsp')")
  end
end

local function keys()
  for _, mapping in ipairs(vim.api.nvim_get_keymap('i')) do
    local plug = not mapping.lhs:match('^<Plug>') and (mapping.rhs or ''):match('^<Plug>%(cl%-lsp%-accept')
    if plug or mapping.desc == 'cl-lsp: accept' then
      return vim.health.ok(mapping.lhs .. ' accepts a suggestion')
    end
  end
  vim.health.warn('no key accepts a suggestion', "require('cl_lsp').map('<Tab>')")
end

function M.check()
  vim.health.start('cl-lsp')
  local ghost = require('cl_lsp.options').ghost
  vim.health.ok(('Neovim %s, ghost text: %s'):format(vim.version(), ghost))
  local path = program()
  clients()
  keys()
  if path then
    engine(path)
  end
end

return M
