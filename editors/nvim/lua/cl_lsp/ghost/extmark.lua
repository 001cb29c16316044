-- Ghost text for Neovim 0.11, which has none of its own.
local suggestion = require('cl_lsp.suggestion')
local M = {}

local DEBOUNCE_MS = 75 -- the server takes over what runs already, so asking often costs little
local space = vim.api.nvim_create_namespace('cl_lsp')
local states = {} -- by buffer: client, item, timer, request, hidden
vim.api.nvim_set_hl(0, 'ClLspGhost', { link = 'NonText', default = true })

local function show(buf)
  vim.api.nvim_buf_clear_namespace(buf, space, 0, -1)
  local state = states[buf]
  local item = state.item
  if not item or state.hidden or not vim.startswith(vim.api.nvim_get_mode().mode, 'i') then
    return
  end
  local rest, row, col = suggestion.rest(item)
  if not rest then
    state.item = nil
    return
  end
  local lines = {}
  for line in vim.gsplit(rest, '\n', { plain = true }) do
    table.insert(lines, { { line, 'ClLspGhost' } })
  end
  vim.api.nvim_buf_set_extmark(buf, space, row, col, {
    virt_text = lines[1],
    virt_lines = { unpack(lines, 2) },
    virt_text_pos = item.over > 0 and 'overlay' or 'inline',
    hl_mode = 'combine',
  })
end

local function forget(buf)
  local state = states[buf]
  if state.request and state.client then
    state.client:cancel_request(state.request)
  end
  state.timer:stop()
  state.item, state.request = nil, nil
  show(buf)
end

local function received(buf, items, client)
  local first = items[1]
  states[buf].item = nil
  if first then
    local at = first.range
    local line = vim.api.nvim_buf_get_lines(buf, at.start.line, at.start.line + 1, false)[1] or ''
    local function column(place)
      return vim.str_byteindex(line, client.offset_encoding, place.character, false)
    end
    local col, end_col = column(at.start), column(at['end'])
    states[buf].item = { text = first.insertText, row = at.start.line, col = col, over = end_col - col }
  end
  show(buf)
end

local function ask(buf)
  local client = states[buf].client
  local here = vim.api.nvim_get_current_buf() == buf
  if not here or client:is_stopped() or not vim.startswith(vim.api.nvim_get_mode().mode, 'i') then
    return
  end
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  params.context = { triggerKind = 2 } -- automatic
  local tick = vim.api.nvim_buf_get_changedtick(buf)
  local _, request = client:request('textDocument/inlineCompletion', params, function(_, result)
    local items = result and (result.items or result)
    -- null: a newer request was sent; what it will bring is what counts.
    if items and states[buf] and vim.api.nvim_get_current_buf() == buf and vim.b.changedtick == tick then
      received(buf, items, client)
    end
  end, buf)
  states[buf].request = request
end

function M.refresh(buf)
  show(buf)
  states[buf].timer:start(DEBOUNCE_MS, 0, vim.schedule_wrap(function()
    if states[buf] then
      ask(buf)
    end
  end))
end

local function group_of(buf)
  return vim.api.nvim_create_augroup('cl_lsp_ghost_' .. buf, {})
end

function M.attach(buf, client)
  local known = states[buf]
  states[buf] = { client = client, timer = known and known.timer or assert(vim.uv.new_timer()) }
  vim.api.nvim_create_autocmd({ 'InsertEnter', 'CursorMovedI', 'TextChangedP' }, {
    group = group_of(buf),
    buffer = buf,
    callback = function()
      M.refresh(buf)
    end,
  })
end

--- The user has left insert mode, or the buffer.
function M.left(buf)
  if states[buf] then
    forget(buf)
  end
end

--- The client has left the buffer, which may be about to go.
function M.detach(buf, client_id)
  local state = states[buf]
  if state and state.client.id == client_id then
    forget(buf)
    state.timer:close()
    states[buf] = nil
    vim.api.nvim_del_augroup_by_id(group_of(buf))
  end
end

function M.shown()
  local state = states[vim.api.nvim_get_current_buf()]
  if state and state.item and not state.hidden then
    return (suggestion.rest(state.item))
  end
end

function M.accept(what)
  local buf = vim.api.nvim_get_current_buf()
  if not M.shown() then
    return false
  end
  local item = states[buf].item
  forget(buf)
  suggestion.change(function()
    states[buf].item = suggestion.take(item, what) or nil
    show(buf)
  end)
  return true
end

function M.dismiss()
  local buf = vim.api.nvim_get_current_buf()
  if states[buf] then
    forget(buf)
  end
end

function M.menu(buf, open)
  if states[buf] then
    states[buf].hidden = open
    show(buf)
  end
end

return M
