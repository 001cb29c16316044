-- `:checkhealth cl_lsp`
local M = {}

local INSTALL = require('cl_lsp.server').INSTALL .. "; or name it: vim.g.cl_lsp = { cmd = { '/path/to/cl-lsp' } }"

local WAIT_MS = 30000 -- PyTorch from a cold disk

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
    vim.health.error(('%s is %s; this plugin needs %s'):format(path, version, server.OLDEST), server.INSTALL)
  else
    vim.health.ok(('%s is %s'):format(path, version))
    return path
  end
end

--- What came of a command of the program's, and the line of it that counts.
local function ask(path, ...)
  local done = vim.system({ path, ... }, { text = true }):wait(WAIT_MS)
  local lines = vim.split(vim.trim(done.stdout ~= '' and done.stdout or done.stderr), '\n')
  local problem = vim.iter(lines):find(function(line)
    return vim.startswith(line, 'error: ')
  end)
  return done, problem and problem:sub(#'error: ' + 1) or lines[1]
end

--- Whether the engine answers or, if none runs, could be started.
local function engine(path)
  local status, told = ask(path, 'status')
  if status.code == 0 then
    return vim.health.ok('the engine: ' .. told)
  end
  local doctor, problem = ask(path, 'doctor', '--json')
  local read, findings = pcall(vim.json.decode, doctor.stdout)
  local wrong = vim.iter(read and findings or {}):filter(function(found)
    return found.state == 'wrong'
  end):totable()
  for _, found in ipairs(wrong) do
    vim.health.error(('%s: %s'):format(found.what, found.said), found.fix)
  end
  if #wrong == 0 and not (read and told == 'not running') then
    vim.health.error('the engine: ' .. (read and told or problem), path .. ' doctor')
  elseif #wrong == 0 then
    vim.health.info('the engine: not running (it starts with the first key)')
  end
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
  for _, client in ipairs(running) do
    local now = require('cl_lsp.status').of(client)
    if now.state == 'error' then
      vim.health.error(now.message, { ':ClLsp log engine shows what the engine said', ':ClLsp restart' })
    end
  end
end

local function keys()
  local found = false
  for _, mapping in ipairs(vim.api.nvim_get_keymap('i')) do
    local plug = not mapping.lhs:match('^<Plug>') and (mapping.rhs or ''):match('^<Plug>%(cl%-lsp%-accept')
    if plug or mapping.desc == 'cl-lsp: accept' then
      vim.health.ok(mapping.lhs .. ' accepts a suggestion, or a part of it')
      found = true
    end
  end
  if not found then
    vim.health.warn('no key accepts a suggestion', "require('cl_lsp').map('<Tab>')")
  end
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
