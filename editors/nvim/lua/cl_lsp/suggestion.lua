-- A suggestion: {text, row, col, over}: for a cursor at (row, col), in bytes from 0, whose line goes
-- on with `over` bytes that it replaces. What is typed since moves those along.
local M = {}

local PARTS = {
  all = { '^.+$' },
  line = { '^\n?[^\n]+', '^\n+' },
  -- Letters of other scripts are bytes from 128.
  word = { '^%s*[%w_\128-\255]+', '^%s*[^%w_%s\128-\255]+', '^%s+' },
}

--- The first `what` of a text that is not empty.
function M.part(text, what)
  for _, pattern in ipairs(PARTS[what]) do
    local found = text:match(pattern)
    if found then
      return found
    end
  end
end

--- What is still to be inserted, and the cursor; nil if what was typed since is not its beginning.
function M.rest(item)
  local row, col = unpack(vim.api.nvim_win_get_cursor(0))
  row = row - 1
  if row < item.row or (row == item.row and col < item.col) then
    return
  end
  local read, typed = pcall(vim.api.nvim_buf_get_text, 0, item.row, item.col, row, col, {})
  typed = read and table.concat(typed, '\n')
  if typed and vim.startswith(item.text, typed) and #typed < #item.text then
    return item.text:sub(#typed + 1), row, col
  end
end

--- The longest end of `replaced` whose characters all come, in this order, in `text`.
local function kept(replaced, text)
  local at = #text
  for i = #replaced, 1, -1 do
    while at > 0 and text:byte(at) ~= replaced:byte(i) do
      at = at - 1
    end
    if at == 0 then
      return replaced:sub(i + 1)
    end
    at = at - 1
  end
  return replaced
end

--- What comes next is undone by itself.
local function break_undo()
  vim.cmd('let &g:undolevels = &g:undolevels')
end

--- Insert its first `what` at the cursor. Returns the suggestion that is left, nil if none is, and
--- false if it does not fit what was typed.
function M.take(item, what)
  local rest, row, col = M.rest(item)
  if not rest then
    return false
  end
  local part = M.part(rest, what)
  local left = rest:sub(#part + 1)
  local replaced = vim.api.nvim_get_current_line():sub(col + 1, col + item.over)
  -- Closing brackets stand there already; those that are still to come stay for now.
  local stays = kept(replaced, left)
  local lines = vim.split(part, '\n')
  break_undo()
  vim.api.nvim_buf_set_text(0, row, col, row, col + #replaced - #stays, lines)
  local to_row, to_col = row + #lines - 1, #lines[#lines] + (#lines == 1 and col or 0)
  vim.api.nvim_win_set_cursor(0, { to_row + 1, to_col })
  break_undo()
  if left ~= '' then
    return { text = left, row = to_row, col = to_col, over = #stays }
  end
end

--- Change text now or, in an `<expr>` mapping (all of blink.cmp's are), where that may not be, right after.
function M.change(act)
  local done, problem = pcall(act)
  if not done and not tostring(problem):match('E565') then
    error(problem, 0)
  elseif not done then
    vim.schedule(act)
  end
end

return M
