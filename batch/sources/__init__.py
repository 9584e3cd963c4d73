"""Where images come from. Each source cuts itself into pieces in a fixed order and reads any of them anew."""
