"""Crop and augmentation for NVIDIA and AMD GPUs (Triton): views straight from a bank that lies on the device.

The arithmetic is that of samclr.views.resample and samclr.views.augment_kernel, view by view; samclr.views.gpu makes
the tables and calls. A view's channels are planes of `HEIGHT * WIDTH`; tables have a row a view.
"""

import triton
import triton.language as tl

CONTRAST, SATURATION, HUE = (tl.constexpr(number) for number in range(1, 4))  # brightness is 0


@triton.jit
def crop_views(bank, first_byte, whole, real, out, SIZE: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Resample a box of one pyramid level into out [n 3 s s] uint8. A program makes BLOCK pixels of a view.

    first_byte [n] int64: the box's first whole pixel in the bank. whole [n 5] int32: bytes of a row, then for y and x
    pixels that the box touches and taps at most. real [n 6] float32: for y and x where the box begins within its first
    pixel, scale, and radius of the filter.
    """
    view = tl.program_id(0)
    pixel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < SIZE * SIZE
    source = bank + tl.load(first_byte + view)
    whole += view * 5
    real += view * 6
    row_bytes = tl.load(whole)
    extent_y, taps_y, extent_x, taps_x = tl.load(whole + 1), tl.load(whole + 2), tl.load(whole + 3), tl.load(whole + 4)
    begin_y, scale_y, radius_y = tl.load(real), tl.load(real + 1), tl.load(real + 2)
    begin_x, scale_x, radius_x = tl.load(real + 3), tl.load(real + 4), tl.load(real + 5)
    centre_y = begin_y + (pixel // SIZE + 0.5) * scale_y
    centre_x = begin_x + (pixel % SIZE + 0.5) * scale_x
    first_y, end_y = _reach(centre_y, radius_y, extent_y)
    first_x, end_x = _reach(centre_x, radius_x, extent_x)
    total_y = _total(first_y, end_y, centre_y, radius_y, taps_y)
    total_x = _total(first_x, end_x, centre_x, radius_x, taps_x)
    red = tl.full([BLOCK], 0.5, tl.float32)
    green = tl.full([BLOCK], 0.5, tl.float32)
    blue = tl.full([BLOCK], 0.5, tl.float32)
    for step_y in range(taps_y):
        y = first_y + step_y
        weight_y = _share(y, first_y, end_y, centre_y, radius_y, total_y)
        for step_x in range(taps_x):
            x = first_x + step_x
            weight = weight_y * _share(x, first_x, end_x, centre_x, radius_x, total_x)
            wanted = inside & (weight > 0)
            place = source + y * row_bytes + x * 3
            red += weight * tl.load(place, mask=wanted, other=0).to(tl.float32)
            green += weight * tl.load(place + 1, mask=wanted, other=0).to(tl.float32)
            blue += weight * tl.load(place + 2, mask=wanted, other=0).to(tl.float32)
    target = out + view.to(tl.int64) * (3 * SIZE * SIZE) + pixel
    tl.store(target, red.to(tl.uint8), mask=inside)
    tl.store(target + SIZE * SIZE, green.to(tl.uint8), mask=inside)
    tl.store(target + 2 * SIZE * SIZE, blue.to(tl.uint8), mask=inside)


@triton.jit
def _reach(centre, radius, extent):  # type: ignore[no-untyped-def]
    """First tap and end of every output pixel on one axis."""
    first = tl.maximum((centre - radius + 0.5).to(tl.int32), 0)
    end = tl.minimum((centre + radius + 0.5).to(tl.int32), extent)
    nearest = tl.minimum(tl.maximum(centre.to(tl.int32), 0), extent - 1)
    first = tl.where(end > first, first, nearest)
    return first, tl.maximum(end, first + 1)


@triton.jit
def _weight(place, end, centre, radius):  # type: ignore[no-untyped-def]
    return tl.where(place < end, tl.maximum(1.0 - tl.abs(place + 0.5 - centre) / radius, 0.0), 0.0)


@triton.jit
def _total(first, end, centre, radius, taps):  # type: ignore[no-untyped-def]
    total = tl.zeros_like(centre)
    for step in range(taps):
        total += _weight(first + step, end, centre, radius)
    return total


@triton.jit
def _share(place, first, end, centre, radius, total):  # type: ignore[no-untyped-def]
    """The weight over the total; all of it at the first tap where the total is nothing."""
    alone = tl.where(place == first, 1.0, 0.0)
    return tl.where(total > 0, _weight(place, end, centre, radius) / tl.maximum(total, 1e-20), alone)


@triton.jit
def colour_views(  # type: ignore[no-untyped-def]
    pixels, whole, real, norm, out, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr
):
    """Flip, jitter and grey; solarise and normalise too where no blur follows. A program makes a view.

    pixels [n 3 h w] uint8 -> out [n 3 h w] float32. whole [n 9] int32: the jitter's parts as they come (-1: none), the
    turn of contrast (-1: none), then flip, grey, blur, solarise. real [n 4] float32: the parts' factors as they come.
    norm [6] float32: mean, then deviation, of each channel.
    """
    view = tl.program_id(0)
    whole += view * 9
    real += view * 4
    contrast_turn = tl.load(whole + 4)
    source = pixels + view.to(tl.int64) * (3 * HEIGHT * WIDTH)
    target = out + view.to(tl.int64) * (3 * HEIGHT * WIDTH)
    flip, grey, blurred, solarised = (tl.load(whole + 5), tl.load(whole + 6), tl.load(whole + 7), tl.load(whole + 8))
    sums = tl.zeros([BLOCK], tl.float32)
    if contrast_turn > 0:  # the mean of what the parts before it leave
        for first in range(0, HEIGHT * WIDTH, BLOCK):
            pixel = first + tl.arange(0, BLOCK)
            red, green, blue = _load(source, pixel, flip, HEIGHT, WIDTH)
            for turn in tl.static_range(3):
                if turn < contrast_turn:
                    red, green, blue = _jitter(tl.load(whole + turn), tl.load(real + turn), 0.0, red, green, blue)
            sums += tl.where(pixel < HEIGHT * WIDTH, _grey(red, green, blue), 0.0)
    if contrast_turn == 0:
        for first in range(0, HEIGHT * WIDTH, BLOCK):
            red, green, blue = _load(source, first + tl.arange(0, BLOCK), flip, HEIGHT, WIDTH)
            sums += _grey(red, green, blue)
    mean = tl.sum(sums, 0) / (HEIGHT * WIDTH)
    for first in range(0, HEIGHT * WIDTH, BLOCK):
        pixel = first + tl.arange(0, BLOCK)
        inside = pixel < HEIGHT * WIDTH
        red, green, blue = _load(source, pixel, flip, HEIGHT, WIDTH)
        for turn in tl.static_range(4):
            red, green, blue = _jitter(tl.load(whole + turn), tl.load(real + turn), mean, red, green, blue)
        if grey:
            red = _grey(red, green, blue)
            green = red
            blue = red
        if blurred == 0:
            red = _finish(red, solarised, tl.load(norm), tl.load(norm + 3))
            green = _finish(green, solarised, tl.load(norm + 1), tl.load(norm + 4))
            blue = _finish(blue, solarised, tl.load(norm + 2), tl.load(norm + 5))
        tl.store(target + pixel, red, mask=inside)
        tl.store(target + HEIGHT * WIDTH + pixel, green, mask=inside)
        tl.store(target + 2 * HEIGHT * WIDTH + pixel, blue, mask=inside)


@triton.jit
def _load(source, pixel, flip, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    column = pixel % WIDTH
    place = source + pixel - column + tl.where(flip != 0, WIDTH - 1 - column, column)
    inside = pixel < HEIGHT * WIDTH
    red = tl.load(place, mask=inside, other=0).to(tl.float32) / 255.0
    green = tl.load(place + HEIGHT * WIDTH, mask=inside, other=0).to(tl.float32) / 255.0
    blue = tl.load(place + 2 * HEIGHT * WIDTH, mask=inside, other=0).to(tl.float32) / 255.0
    return red, green, blue


@triton.jit
def _clamp(value):  # type: ignore[no-untyped-def]
    return tl.minimum(tl.maximum(value, 0.0), 1.0)


@triton.jit
def _grey(red, green, blue):  # type: ignore[no-untyped-def]
    return 0.2989 * red + 0.587 * green + 0.114 * blue


@triton.jit
def _jitter(part, factor, mean, red, green, blue):  # type: ignore[no-untyped-def]
    """One part of the colour jitter; `mean` is contrast's alone."""
    if part == HUE:
        value = tl.maximum(red, tl.maximum(green, blue))
        chroma = value - tl.minimum(red, tl.minimum(green, blue))
        inverse = 1.0 / tl.maximum(chroma, 1e-20)
        sixth = tl.where(value == green, (blue - red) * inverse + 2.0, (red - green) * inverse + 4.0)
        sixth = tl.where(value == red, (green - blue) * inverse, sixth) + factor * 6.0
        red = _turned(value, chroma, sixth + 5.0)
        green = _turned(value, chroma, sixth + 3.0)
        blue = _turned(value, chroma, sixth + 1.0)
    elif part >= 0:
        rest = tl.zeros_like(red)
        if part == CONTRAST:
            rest += (1.0 - factor) * mean
        elif part == SATURATION:
            rest += (1.0 - factor) * _grey(red, green, blue)
        red = _clamp(rest + factor * red)
        green = _clamp(rest + factor * green)
        blue = _clamp(rest + factor * blue)
    return red, green, blue


@triton.jit
def _turned(value, chroma, away):  # type: ignore[no-untyped-def]
    """A channel: the value less the chroma times how far its corner of the colour circle is away, in sixths."""
    away -= 6.0 * tl.floor(away / 6.0)
    return value - chroma * _clamp(tl.minimum(away, 4.0 - away))


@triton.jit
def _finish(value, solarised, mean, std):  # type: ignore[no-untyped-def]
    value = tl.where((solarised != 0) & (value >= 0.5), 1.0 - value, value)
    return (value - mean) / std


@triton.jit
def blur_views(  # type: ignore[no-untyped-def]
    source, target, rows, sigmas, radii, solarise, norm,
    HEIGHT: tl.constexpr, WIDTH: tl.constexpr, ACROSS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """One axis of a Gaussian blur with reflected edges, of a channel of the view rows[m]; down comes last and finishes.

    A program makes a tile. Rows and columns come from its place and not from a pixel's number: of such a
    division inside the loop ptxas 12.8 makes wrong code (24 px, odd radii: two taps read the same row).

    Across: source [n 3 h w], target [m 3 h w]; down: source [m 3 h w], target [n 3 h w]. sigmas [m] float32, px;
    radii [m] int32: how far the kernel reaches, px; solarise [m] int32, norm as in colour_views.
    """
    number = tl.program_id(0) // 3
    channel = tl.program_id(0) % 3
    y = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    x = tl.program_id(2) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    inside = (y < HEIGHT) & (x < WIDTH)
    own = (number.to(tl.int64) * 3 + channel) * (HEIGHT * WIDTH)
    whole = (tl.load(rows + number).to(tl.int64) * 3 + channel) * (HEIGHT * WIDTH)
    sigma = tl.load(sigmas + number)
    radius = tl.load(radii + number)
    source += whole if ACROSS else own
    target += own if ACROSS else whole
    sums = tl.zeros([ROWS, COLUMNS], tl.float32)
    total = 0.0
    for step in range(2 * radius + 1):
        offset = step - radius
        weight = tl.exp(-0.5 * (offset / sigma) * (offset / sigma))
        if ACROSS:
            place = y * WIDTH + (WIDTH - 1) - tl.abs((WIDTH - 1) - tl.abs(x + offset))
        else:
            place = ((HEIGHT - 1) - tl.abs((HEIGHT - 1) - tl.abs(y + offset))) * WIDTH + x
        sums += weight * tl.load(source + place, mask=inside, other=0.0)
        total += weight
    sums = sums / total
    if not ACROSS:
        sums = _finish(sums, tl.load(solarise + number), tl.load(norm + channel), tl.load(norm + 3 + channel))
    tl.store(target + y * WIDTH + x, sums, mask=inside)
