-- What a user's configuration may call; the rest of this folder may change.
local M = {}

--- Accept 'all' (the default), a 'line' or a 'word' of the suggestion that is shown.
--- @param what? 'all'|'line'|'word'
--- @return boolean # whether there was one
function M.accept(what)
  return require('cl_lsp.ghost').accept(what or 'all')
end

--- Whether a suggestion is shown at the cursor.
function M.visible()
  return require('cl_lsp.ghost').shown() ~= nil
end

--- Hide the suggestion until the next key.
function M.dismiss()
  require('cl_lsp.ghost').dismiss()
end

--- Accept with a key that keeps its meaning (also another plugin's) if nothing is shown.
--- @param key string
--- @param what? 'all'|'line'|'word'
function M.map(key, what)
  require('cl_lsp.keys').map(key, what or 'all')
end

--- For completion plugins: their menu has opened (true) or closed (false).
function M.menu(open)
  require('cl_lsp.ghost').menu(open)
end

--- A few words for the statusline: model, what it does, and how long the last answer took.
function M.statusline()
  return require('cl_lsp.status').line()
end

return M
