//! Rows of COPY BINARY, field by field. Every length is checked before it is used.

const std = @import("std");

/// As `export_runner.frames.native` numbers them.
pub const Kind = enum(u8) {
    bool = 0,
    int2,
    int4,
    int8,
    oid,
    float4,
    float8,
    text,
    json,
    jsonb,
    bytea,
    date,
    timestamp,
    timestamptz,
    uuid,
    /// As text.
    numeric,
    /// numeric in its binary form.
    decimal,
    array,

    /// Bytes of a value; null where they vary.
    pub fn width(kind: Kind) ?usize {
        return switch (kind) {
            .bool => 1,
            .int2 => 2,
            .int4, .oid, .float4, .date => 4,
            .int8, .float8, .timestamp, .timestamptz => 8,
            .uuid => 16,
            .text, .json, .jsonb, .bytea, .numeric, .decimal, .array => null,
        };
    }
};

pub const Status = enum(i32) {
    done = 0,
    full = 1,
    field_count = 2,
    negative_length = 3,
    row_end = 4,
    width = 5,
    jsonb_version = 6,
    beyond = 7,
    decimal = 8,
    array = 9,
    /// There is not enough of what a value is written to before it is known how it is to stand.
    scratch = 10,
};

pub const Problem = error{ FieldCount, NegativeLength, RowEnd, Width, JsonbVersion, Decimal, Array };

pub fn status(problem: Problem) Status {
    return switch (problem) {
        error.FieldCount => .field_count,
        error.NegativeLength => .negative_length,
        error.RowEnd => .row_end,
        error.Width => .width,
        error.JsonbVersion => .jsonb_version,
        error.Decimal => .decimal,
        error.Array => .array,
    };
}

/// A row of `length` bytes at `offset`; null when the data ends before it.
pub fn row(data: []const u8, offset: usize, length: i64) ?[]const u8 {
    if (length < 2 or @as(usize, @intCast(length)) > data.len - offset) return null;
    return data[offset..][0..@intCast(length)];
}

/// `length` bytes from `begin` on; null when they are not all of the data.
pub fn slice(data: []const u8, begin: i64, length: i64) ?[]const u8 {
    if (begin < 0 or length < 0 or begin > data.len or length > data.len - @as(usize, @intCast(begin))) return null;
    return data[@intCast(begin)..][0..@intCast(length)];
}

/// Can the bytes be a value of the kind, as far as their number and the first of them say?
pub inline fn check(kind: Kind, bytes: []const u8) Problem!void {
    if (kind.width()) |wanted| if (bytes.len != wanted) return error.Width;
    if (kind == .jsonb and (bytes.len < 1 or bytes[0] != 1)) return error.JsonbVersion;
}

pub const Fields = struct {
    row: []const u8,
    at: usize = 2,

    pub fn of(bytes: []const u8, count: usize) Problem!Fields {
        if (std.mem.readInt(i16, bytes[0..2], .big) != count) return error.FieldCount;
        return .{ .row = bytes };
    }

    /// The next value, null for NULL.
    pub inline fn next(self: *Fields, kind: Kind) Problem!?[]const u8 {
        const value = try self.any();
        if (value) |bytes| try check(kind, bytes);
        return value;
    }

    /// The same, of whatever kind.
    pub inline fn any(self: *Fields) Problem!?[]const u8 {
        if (self.row.len - self.at < 4) return error.RowEnd;
        const size = std.mem.readInt(i32, self.row[self.at..][0..4], .big);
        self.at += 4;
        if (size < 0) return if (size == -1) null else error.NegativeLength;
        const length: usize = @intCast(size);
        if (self.row.len - self.at < length) return error.RowEnd;
        const value = self.row[self.at..][0..length];
        self.at += length;
        return value;
    }

    pub fn end(self: *const Fields) Problem!void {
        if (self.at != self.row.len) return error.RowEnd;
    }
};
