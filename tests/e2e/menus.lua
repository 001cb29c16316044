-- Stand-ins for two completion plugins, after what their sources do with keys and events: blink.cmp
-- maps in the buffer, in its version 1 with <expr>, where no text may be changed; nvim-cmp maps for
-- all buffers. Both do so on InsertEnter, call what the key meant before as their fallback, and show
-- the words of the buffer in a floating window while one is typed.
local menu = { selected = 0 }

function menu.close()
  if menu.window then
    vim.api.nvim_win_close(menu.window, true)
    menu.window = nil
    menu.said(false)
  end
end

local function update()
  local before = vim.api.nvim_get_current_line():sub(1, vim.api.nvim_win_get_cursor(0)[2])
  local word = before:match('[%w_]+$')
  local words = {}
  for found in table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), ' '):gmatch('[%w_]+') do
    if word and found ~= word and vim.startswith(found, word) then
      table.insert(words, found)
    end
  end
  if #words == 0 then
    return menu.close()
  end
  menu.buffer = menu.buffer or vim.api.nvim_create_buf(false, true)
  vim.api.nvim_buf_set_lines(menu.buffer, 0, -1, false, words)
  if not menu.window then
    menu.window = vim.api.nvim_open_win(menu.buffer, false, {
      relative = 'cursor', row = 1, col = 0, width = 20, height = 3, noautocmd = true,
    })
    menu.said(true)
  end
end

local function start(map)
  vim.api.nvim_create_autocmd('InsertEnter', { callback = map })
  vim.api.nvim_create_autocmd('TextChangedI', { callback = vim.schedule_wrap(update) })
  vim.api.nvim_create_autocmd('InsertLeave', { callback = vim.schedule_wrap(menu.close) })
end

local function select()
  menu.selected = menu.selected + (menu.window and 1 or 0)
  return menu.window ~= nil
end

local function mapping(keymap, key)
  return vim.iter(keymap):find(function(found)
    return found.lhs == key and not vim.startswith(found.desc or '', 'menus')
  end)
end

local blink = {
  select_next = select,
  snippet_forward = function() end,
}

function blink.setup(options)
  menu.said = function(open)
    local name = open and 'BlinkCmpMenuOpen' or 'BlinkCmpMenuClose'
    vim.api.nvim_exec_autocmds('User', { pattern = name, modeline = false })
  end
  local function fallback(key)
    local old = mapping(vim.api.nvim_buf_get_keymap(0, 'i'), key) or mapping(vim.api.nvim_get_keymap('i'), key)
    if not old then
      return vim.keycode(key)
    end
    vim.schedule(old.callback)
  end
  start(function()
    options.keymap.preset = nil
    for key, commands in pairs(options.keymap) do
      vim.api.nvim_buf_set_keymap(0, 'i', key, '', { expr = true, noremap = true, desc = 'menus', callback = function()
        for _, command in ipairs(commands) do
          if command == 'fallback' then
            return fallback(key)
          elseif (blink[command] or command)(blink) then
            return
          end
        end
      end })
    end
  end)
end

local cmp = {
  visible = function() return menu.window ~= nil end,
  select_next_item = select,
  mapping = setmetatable({}, { __call = function(_, act) return act end }),
  event = {},
}
local listeners = {}

function cmp.event.on(_, name, act)
  listeners[name] = act
end

function cmp.setup(options)
  menu.said = function(open)
    (listeners[open and 'menu_opened' or 'menu_closed'] or function() end)()
  end
  start(function()
    for key, action in pairs(options.mapping) do
      local old = mapping(vim.api.nvim_get_keymap('i'), key)
      if vim.fn.maparg(key, 'i', false, true).desc ~= 'menus' then
        vim.api.nvim_set_keymap('i', key, '', { noremap = true, desc = 'menus', callback = function()
          action(old and old.callback or function()
            vim.api.nvim_feedkeys(vim.keycode(key), 'in', true)
          end)
        end })
      end
    end
  end)
end

--- Neovim's own menu, filled anew at each key, as other plugins do.
function menu.popup()
  vim.o.completeopt = 'menuone,noselect,noinsert'
  vim.api.nvim_create_autocmd({ 'TextChangedI', 'TextChangedP' }, { callback = function()
    local word = vim.api.nvim_get_current_line():match('[%w_]+$')
    if word then
      vim.fn.complete(vim.fn.col('.') - #word, { word .. '_1', word .. '_2' })
    end
  end })
end

package.preload['blink.cmp'] = function() return blink end
package.preload.cmp = function() return cmp end
_G.menu = menu
