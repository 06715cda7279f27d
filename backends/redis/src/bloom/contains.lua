if not m then
    return 0
end
for i = 0, k - 1 do
    local bit = redis.pcall('GETBIT', BITMAP, position(i, m))
    if bit ~= 1 then
        return bit
    end
end
return 1
